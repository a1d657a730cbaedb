package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// watchedFiles are files that are read again when they change.
type watchedFiles struct {
	what  string // for logs and metrics
	names []string
	load  func() (note string, err error) // takes what is in them, or changes nothing
}

// maxWatched bounds what is read of a file.
const maxWatched = 1 << 20

// print tells the contents of files apart. A file is looked into and not only
// at: mounted Secrets change by a link, and a file may be written twice in the
// same tick of the clock.
func (w *watchedFiles) print() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range w.names {
		var f *os.File
		info, err := os.Stat(name)
		if err == nil && info.Mode().IsRegular() { // to open a pipe would wait for its other end
			f, err = os.Open(name)
		}
		if f == nil || err != nil {
			fmt.Fprintf(h, "%q cannot be read\n", name)
			continue
		}
		n, err := io.Copy(h, io.LimitReader(f, maxWatched))
		fmt.Fprintf(h, "%q %d %t\n", name, n, err != nil)
		_ = f.Close()
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// watch reads files again when what is in them has changed, until the context
// ends; then the channel is closed. Contents that are no good are told of once, and leave
// in force what was there.
func watch(ctx context.Context, every time.Duration, metrics *telemetry.Metrics, log *slog.Logger, list ...watchedFiles) <-chan struct{} {
	done := make(chan struct{})
	prints := make([][sha256.Size]byte, len(list))
	files := 0
	for i := range list {
		prints[i] = list[i].print()
		files += len(list[i].names)
	}
	if every <= 0 || files == 0 {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for i := range list {
				w := &list[i]
				now := w.print()
				if now == prints[i] {
					continue
				}
				prints[i] = now
				note, err := w.load()
				metrics.SecurityReloaded(w.what, err == nil)
				if err != nil {
					log.Error("changed files are not taken: what was in force stays", "event_type", "security", "what", w.what, "error", err)
					continue
				}
				log.Warn("changed files are taken", "event_type", "security", "what", w.what, "now", note)
			}
		}
	}()
	return done
}

// openKeys returns the keys of the configuration, or nil where it has none.
func openKeys(cfg *config.Config) (*server.Keys, error) {
	list, err := serverKeys(cfg)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return server.NewKeys(list...)
}

// serverKeys translates the keys of the configuration.
func serverKeys(cfg *config.Config) ([]server.Key, error) {
	list, err := cfg.Keys()
	if err != nil {
		return nil, err
	}
	keys := make([]server.Key, 0, len(list))
	for _, k := range list {
		key := server.Key{Name: k.Name, Hash: k.Hash, Certificate: k.Certificate, Limit: rate(k.Rate), Expires: k.Expires}
		for _, s := range k.Scopes {
			key.Scopes |= map[string]server.Scope{"infer": server.ScopeInfer, "metrics": server.ScopeMetrics, "admin": server.ScopeAdmin}[s]
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func rate(r config.Rate) server.Rate { return server.Rate{Count: r.Count, Per: r.Per} }

// keysFiles are the files of keys.
func keysFiles(cfg *config.Config, keys *server.Keys) watchedFiles {
	w := watchedFiles{what: "keys", load: func() (string, error) {
		list, err := serverKeys(cfg)
		if err == nil {
			err = keys.Replace(list...)
		}
		return fmt.Sprintf("%d keys", len(list)), err
	}}
	if keys == nil {
		return w
	}
	for _, name := range []string{cfg.Security.KeysFile, cfg.Security.APIKeyFile, cfg.Security.AdminKeyFile} {
		if name != "" {
			w.names = append(w.names, name)
		}
	}
	return w
}
