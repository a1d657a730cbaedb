package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// remote is a server that runs, as reload, rollback and status reach it.
type remote struct {
	URL     string        `default:"http://127.0.0.1:8080" env:"CARLA_RL_URL" placeholder:"URL" help:"Address of the server (CARLA_RL_URL); unix:///path for a socket."`
	KeyFile string        `placeholder:"FILE" help:"File whose first line is the key. Default: CARLA_RL_ADMIN_KEY, or CARLA_RL_ADMIN_KEY_FILE."`
	CA      string        `name:"ca" placeholder:"FILE" help:"Certificates in PEM that signed the server's. Default: those of the system."`
	Cert    string        `placeholder:"FILE" help:"Certificate in PEM to show to the server, with --cert-key."`
	CertKey string        `placeholder:"FILE" help:"Its private key in PEM."`
	Timeout time.Duration `default:"10m" placeholder:"TIME" help:"How long to wait for the answer."`
	JSON    bool          `name:"json" help:"Print the answer of the server as it is."`
}

// maxRemoteAnswer is the longest answer that is read.
const maxRemoteAnswer = 64 << 20

// key finds the key to show, "" for none. Variables of keys that are weaker come
// last.
func (r *remote) key(variables ...string) (string, error) {
	file := r.KeyFile
	for _, name := range variables {
		if file != "" {
			break
		}
		if key := strings.TrimSpace(os.Getenv(name)); key != "" {
			return key, nil
		}
		file = os.Getenv(name + "_FILE")
	}
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s holds no key", file)
	}
	return line, nil
}

// refusal is an answer of the server that is an error.
type refusal struct {
	Code    string         `json:"error"`
	Message string         `json:"message"`
	Rest    jsontext.Value `json:",unknown"`
}

// tls is what a server with certificates is spoken to with.
func (r *remote) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.CA != "" {
		data, err := os.ReadFile(r.CA)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--ca: %s holds no certificate in PEM", r.CA)
		}
	}
	if r.Cert != "" || r.CertKey != "" {
		pair, err := tls.LoadX509KeyPair(r.Cert, r.CertKey)
		if err != nil {
			return nil, fmt.Errorf("--cert and --cert-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// ask sends one request and returns the body of the answer.
func (r *remote) ask(method, path, key string, body any) ([]byte, error) {
	// Where a server sends us to, the key does not go.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if r.CA != "" || r.Cert != "" || r.CertKey != "" {
		config, err := r.tls()
		if err != nil {
			return nil, usage(err)
		}
		client.Transport = &http.Transport{TLSClientConfig: config}
	}
	base := strings.TrimSuffix(r.URL, "/")
	if socket, ok := strings.CutPrefix(base, "unix://"); ok {
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		base = "http://localhost"
	}
	defer client.CloseIdleConnections()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, reader)
	if err != nil {
		return nil, usage(fmt.Errorf("--url: %w", err))
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w (is the server there? --url or CARLA_RL_URL names it)", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxRemoteAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", r.URL, err)
	}
	if res.StatusCode == http.StatusOK {
		return text, nil
	}
	var f refusal
	if json.Unmarshal(text, &f) != nil || f.Code == "" {
		return nil, fmt.Errorf("%s answered %s to %s %s", r.URL, res.Status, method, path)
	}
	err = fmt.Errorf("%s: %s (%s)", r.URL, f.Message, f.Code)
	if f.Code == "UNAUTHORIZED" && key == "" {
		err = fmt.Errorf("%w; CARLA_RL_ADMIN_KEY, CARLA_RL_ADMIN_KEY_FILE or --key-file brings one", err)
	}
	return nil, err
}

// query asks as the variables' key, prints the answer where --json wants it as it
// is, and reads it into dst. what says what the answer should be.
func (r *remote) query(s stdio, method, path string, body, dst any, what string, variables ...string) error {
	key, err := r.key(variables...)
	if err != nil {
		return err
	}
	text, err := r.ask(method, path, key, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, dst); err != nil {
		return fmt.Errorf("%s: the answer is none of a %s: %w", r.URL, what, err)
	}
	if r.JSON {
		fmt.Fprintf(s.out, "%s\n", text)
	}
	return nil
}

// modelBody is the body of an act.
type modelBody struct {
	Model string `json:"model,omitempty"`
}

// change is what a server tells of an act for one model.
type change struct {
	Model   string   `json:"model"`
	Result  string   `json:"result"`
	Version string   `json:"version"`
	Digest  string   `json:"digest"`
	Before  string   `json:"before"`
	Loaded  []string `json:"loaded"`
	Refused []struct {
		Version string `json:"version"`
		Reason  string `json:"reason"`
	} `json:"refused"`
	BeforeDigest string `json:"before_digest"`
}

// String tells it in one line, with another for each version that was refused.
func (c *change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", oneLine(c.Model), c.Result)
	switch {
	case c.Version == "":
		fmt.Fprintf(&b, ", no longer served (%s before)", oneLine(c.Before))
	default:
		fmt.Fprintf(&b, ", %s answers", versionText(c.Version, c.Digest))
		if c.Before != "" {
			fmt.Fprintf(&b, " (%s before)", versionText(c.Before, c.BeforeDigest))
		}
	}
	if len(c.Loaded) > 0 {
		fmt.Fprintf(&b, ", loaded %s", oneLine(strings.Join(c.Loaded, " ")))
	}
	for _, r := range c.Refused {
		fmt.Fprintf(&b, "\n  refused %s: %s", oneLine(r.Version), oneLine(r.Reason))
	}
	return b.String()
}

// versionText is a version with the beginning of its digest.
func versionText(version, digest string) string {
	return oneLine(cmp.Or(version, "-")) + " " + oneLine(digest[:min(12, len(digest))])
}

// errRefused says that what was asked for did not come to pass; the answer was
// printed.
var errRefused = errors.New("not everything was taken: what answered before does so still")
