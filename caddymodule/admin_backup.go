package caddymodule

import (
	"context"
	"io"
	"net/http"

	"go.uber.org/zap"
)

// backuper is a store that can be backed up while it is used.
type backuper interface {
	Backup(ctx context.Context, w io.Writer) error
}

// serveBackup streams what a store holds. With several stores the query store names the one.
func (*adminAPI) serveBackup(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return writeError(w, problem{Code: http.StatusMethodNotAllowed, Message: "allowed here: POST"})
	}
	c, refused := coreToBackUp(r.URL.Query().Get("store"))
	if refused != nil {
		return writeError(w, *refused)
	}
	e := c.opened.Load()
	if e == nil {
		return writeError(w, problem{Code: http.StatusServiceUnavailable, Message: "the store is not open: " + c.state.Load().Reason})
	}
	st, ok := e.store.(backuper)
	if !ok {
		return writeError(w, problem{Code: http.StatusNotImplemented, Message: "this store is backed up by its own tools"})
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := st.Backup(r.Context(), w); err != nil {
		c.logger().Error("backing up the store", zap.String("store", c.identity), zap.Error(err))
		panic(http.ErrAbortHandler) // the only way to tell that what was sent is not whole
	}
	c.logger().Info("the store was backed up", zap.String("store", c.identity))
	return nil
}

func coreToBackUp(name string) (*core, *problem) {
	all := runningCores()
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	for _, c := range all {
		if c.identity == name {
			return c, nil
		}
	}
	switch {
	case len(all) == 0:
		return nil, &problem{Code: http.StatusNotFound, Message: "no store is in use"}
	case name == "":
		return nil, &problem{Code: http.StatusBadRequest, Message: "several stores are in use: name one, as status shows it", Field: "store"}
	default:
		return nil, &problem{Code: http.StatusNotFound, Message: "no such store", Field: "store"}
	}
}
