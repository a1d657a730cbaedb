package main

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"strconv"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/demo"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds a whole request of the demo policy, from the bytes of the
// request to those of the answer over a connection in memory, and a load.
func TestHotPaths(t *testing.T) {
	sub, err := fs.Sub(demo.FS, demo.Dir)
	if err != nil {
		t.Fatal(err)
	}
	hot.Load(t, "load the demo policy", 2, 20_000, func() {
		a, err := artifact.Open(sub, ".", artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Open(a, policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.Prepare(1)
		a.Release()
	})

	cfg := config.Default()
	log := slog.New(slog.DiscardHandler)
	metrics := telemetry.NewMetrics(telemetry.MetricsOptions{})
	repo, err := repository.Open(t.Context(), repository.Options{
		FS: sub, Root: demoName, Lanes: 1,
		Open: func(a *artifact.Artifact) (*policy.Policy, error) { return policy.Open(a, policy.Options{}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeRepository(repo, log)
	if err := repo.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, err := serverOptions(cfg, nil, buildInfo{}, metrics, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(&backend{repo: repo, service: serving.New(serving.Options{Lanes: 1}), root: demoName}, o)
	if err != nil {
		t.Fatal(err)
	}
	ln, served := fasthttputil.NewInmemoryListener(), make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	c, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Close()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}()
	body := `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`
	message := []byte("POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	buf := make([]byte, 4096)
	hot.Path(t, "a whole request", 1000, 0, func() {
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; {
			k, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
			if !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
				t.Fatalf("%s", buf[:n])
			}
			if bytes.HasSuffix(buf[:n], []byte("}")) || bytes.HasSuffix(buf[:n], []byte("}\n")) {
				return
			}
		}
	})
}
