package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/bentihooks/bentihooks/store/badger"
)

func backupCommand() *cobra.Command {
	var server serverFlags
	var store string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Backs up the store of the running server",
		Long: `Writes webhooks and deliveries, as of one moment, to a file, while the server runs. The file is
readable by its owner only. It holds the secrets of all webhooks, unencrypted even if the store is encrypted:
keep it as safe as the store. It appears under its name when it is whole and was checked.`,
		Example: "  caddy benti backup /var/backups/benti.backup",
		Args:    cobra.ExactArgs(1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) (int, error) {
			size, err := backUp(&server, store, args[0])
			if err != nil {
				return exitFailed, err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], humanize.IBytes(uint64(size))) //nolint:gosec // a size
			return exitOK, nil
		}),
	}
	server.add(cmd.Flags())
	cmd.Flags().StringVar(&store, "store", "", "the store, as status names it, if several are in use")
	return cmd
}

// backUp makes the file and returns its size.
func backUp(server *serverFlags, store, name string) (size int64, err error) {
	path := adminPath + "backup"
	if store != "" {
		path += "?store=" + url.QueryEscape(store)
	}
	response, err := server.call(http.MethodPost, path, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".partial-") // mode 0600
	if err != nil {
		return 0, fmt.Errorf("making the file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	if size, err = io.Copy(file, response.Body); err != nil {
		return 0, fmt.Errorf("receiving the backup: %w", err)
	}
	if _, err = file.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("checking the backup: %w", err)
	}
	if err = badger.ReadBackup(file, nil); err != nil {
		return 0, fmt.Errorf("checking the backup: %w", err)
	}
	if err = file.Sync(); err != nil {
		return 0, fmt.Errorf("writing the backup: %w", err)
	}
	if err = file.Close(); err != nil {
		return 0, fmt.Errorf("writing the backup: %w", err)
	}
	if err = os.Rename(file.Name(), name); err != nil {
		return 0, fmt.Errorf("writing the backup: %w", err)
	}
	return size, nil
}

func restoreCommand() *cobra.Command {
	var config, adapter string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Makes a store out of a backup, while no server uses it",
		Long: `Makes the store that the config names out of a backup. The store's directory must not exist, or be
empty, so that a store in use is never touched. It is encrypted if the config says so, with the config's
key, whatever the store that was backed up was encrypted with. What was pending then is delivered again
when the server starts, even if it was delivered after the backup: receivers know it by its delivery id.`,
		Example: "  caddy benti restore /var/backups/benti.backup --config /etc/caddy/Caddyfile",
		Args:    cobra.ExactArgs(1),
		RunE: withExitCode(func(cmd *cobra.Command, args []string) (int, error) {
			dir, err := restore(config, adapter, args[0])
			if err != nil {
				return exitFailed, err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored into %s; it belongs to the user that ran this\n", dir)
			return exitOK, nil
		}),
	}
	cmd.Flags().StringVarP(&config, "config", "c", "", "the config, which says where the store is (default: ./Caddyfile)")
	cmd.Flags().StringVarP(&adapter, "adapter", "a", "", "the config's adapter, if it is no Caddyfile or JSON")
	return cmd
}

// restore returns the directory of the store that it made.
func restore(config, adapter, name string) (dir string, err error) {
	st, err := configuredStore(config, adapter)
	if err != nil {
		return "", err
	}
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("opening the backup: %w", err)
	}
	defer file.Close()
	return st.dir, badger.Restore(badger.Options{Dir: st.dir, EncryptionKey: st.key}, file)
}

// configuredStore provisions the store of a config, which opens nothing.
func configuredStore(config, adapter string) (*BadgerStore, error) {
	data, file, _, err := caddycmd.LoadConfig(config, adapter)
	if err != nil {
		return nil, err
	}
	if file == "" {
		return nil, errors.New("no config: give --config, or run it where the Caddyfile is")
	}
	var whole struct {
		Apps struct {
			Benti struct {
				Store json.RawMessage `json:"store"`
			} `json:"benti"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	app := &App{StoreRaw: whole.Apps.Benti.Store}
	if err := app.provisionStore(ctx); err != nil {
		return nil, err
	}
	st, ok := app.provider.(*BadgerStore)
	if !ok {
		return nil, fmt.Errorf("%s is restored by its own tools", app.provider.Identity())
	}
	return st, nil
}
