// Command ingress is an ingress controller for a test cluster: once a second it
// reads Ingress, Gateway and HTTPRoute objects, writes what they say as nginx's
// configuration and lets nginx, which it runs, load it. It knows what the
// manifests of this project use, and says so in its log when it meets more.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// folder holds the configuration and the certificates; it is the only place
// that is written to.
const folder = "/tmp/ingress"

func main() {
	status := flag.String("status", "", "the address that is written into the status of an Ingress")
	flag.Parse()
	log.SetFlags(log.LstdFlags | log.LUTC)
	if err := run(*status); err != nil {
		log.Fatal(err)
	}
}

func run(status string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	a, err := newAPI()
	if err != nil {
		return err
	}
	var ready atomic.Bool
	go func() {
		log.Print(http.ListenAndServe(":10254", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !ready.Load() {
				http.Error(w, "nothing is loaded yet", http.StatusServiceUnavailable)
			}
		})))
	}()

	var nginx *exec.Cmd
	var current []byte
	ended := make(chan error, 1)
	said := ""
	for tick := time.NewTicker(time.Second); ; {
		c := &configuration{api: a, certificates: map[string][2][]byte{}}
		text, err := c.build(ctx, status)
		if err != nil {
			if said != err.Error() {
				log.Printf("read: %v", err)
				said = err.Error()
			}
		} else if !bytes.Equal(text, current) {
			if err := c.write(text); err != nil {
				return err
			}
			if nginx == nil {
				nginx = exec.Command("/usr/sbin/nginx", "-c", filepath.Join(folder, "nginx.conf"), "-e", "/dev/stderr", "-g", "daemon off;")
				nginx.Stdout, nginx.Stderr = os.Stdout, os.Stderr
				if err := nginx.Start(); err != nil {
					return fmt.Errorf("start nginx: %w", err)
				}
				go func() { ended <- nginx.Wait() }()
			} else if err := nginx.Process.Signal(syscall.SIGHUP); err != nil {
				return fmt.Errorf("reload nginx: %w", err)
			}
			current = text
			log.Printf("loaded %d virtual hosts", c.hosts)
			ready.Store(true)
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return fmt.Errorf("nginx ended: %w", err)
		case <-ctx.Done():
			if nginx != nil {
				_ = nginx.Process.Signal(syscall.SIGQUIT)
				<-ended
			}
			return nil
		}
	}
}

// write puts the configuration and its certificates into the folder.
func (c *configuration) write(text []byte) error {
	for name, pair := range c.certificates {
		for i, suffix := range []string{".crt", ".key"} {
			if err := os.WriteFile(filepath.Join(folder, name+suffix), pair[i], 0o600); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(folder, "nginx.conf"), text, 0o600)
}

// certificate reads a TLS Secret and returns the path of its files without their
// suffix.
func (c *configuration) certificate(ctx context.Context, namespace, name string) (string, error) {
	var secret struct{ Data map[string]string }
	if err := c.api.get(ctx, "/api/v1/namespaces/"+namespace+"/secrets/"+name, &secret); err != nil {
		return "", err
	}
	var pair [2][]byte
	for i, key := range []string{"tls.crt", "tls.key"} {
		b, err := base64.StdEncoding.DecodeString(secret.Data[key])
		if err != nil || len(b) == 0 {
			return "", fmt.Errorf("secret %s/%s has no %s", namespace, name, key)
		}
		pair[i] = b
	}
	c.certificates[namespace+"-"+name] = pair
	return filepath.Join(folder, namespace+"-"+name), nil
}
