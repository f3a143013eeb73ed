package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed dashboard
var dashboardFiles embed.FS

// asset is a file that pages load.
type asset struct {
	kind string // its media type
	body []byte
}

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// assets are all of them, by a name that holds a hash of the content: what is served under a name never changes.
type assets struct {
	byName map[string]asset
	names  map[string]string // from the name of the file
}

var loadAssets = sync.OnceValues(func() (*assets, error) {
	all := &assets{byName: make(map[string]asset), names: make(map[string]string)}
	files, err := fs.Glob(dashboardFiles, "dashboard/assets/*")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		body, err := dashboardFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		base, ext := path.Base(file), path.Ext(file)
		sum := sha256.Sum256(body)
		name := strings.TrimSuffix(base, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		all.byName[name] = asset{kind: assetKinds[ext], body: body}
		all.names[base] = name
	}
	return all, nil
})

func (c *dashboardCall) asset() error {
	all, err := loadAssets()
	if err != nil {
		return err
	}
	file, ok := all.byName[c.place.id]
	if !ok {
		return problem{Code: http.StatusNotFound, Message: "There is no such file."}
	}
	header := c.w.Header()
	header.Set("Content-Type", file.kind)
	header.Set("Cache-Control", "private, max-age=31536000, immutable")
	http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader(file.body))
	return nil
}
