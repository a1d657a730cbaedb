//go:build e2e && linux

package baremetal_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const host = "api.example.com"

// certificate writes one for the example's name, and returns who trusts it.
func certificate(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, cert)))
	return pool
}

// replaced makes an example runnable here; each old text must be in it.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// TestNginx runs nginx with the example and sends requests through TLS.
func TestNginx(t *testing.T) {
	dir := t.TempDir()
	server, secure, plain := freePort(t), freePort(t), freePort(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certificate(t, cert, key)
	example := replaced(t, read(t, filepath.Join(root, "deploy/nginx/carla-rl.conf")),
		"127.0.0.1:8080", "127.0.0.1:"+server, "listen 443 ssl", "listen 127.0.0.1:"+secure+" ssl", "listen 80;", "listen 127.0.0.1:"+plain+";",
		"/etc/ssl/certs/api.example.com.pem", cert, "/etc/ssl/private/api.example.com.key", key)
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	write(t, filepath.Join(dir, "nginx.conf"), "daemon off; pid "+dir+"/pid; error_log stderr; worker_processes 1; user root;\nevents {}\nhttp {\naccess_log off;\n"+temp.String()+example+"}\n")
	run(t, []string{"PORT=" + server, "ALLOWED_HOSTS=" + host}, filepath.Join(installed(t), "usr/bin/carla-rl"), "serve")
	run(t, nil, "nginx", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))

	dialer := &net.Dialer{}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12},
			DialTLSContext:  nil,
			DialContext:     dialer.DialContext,
		},
	}
	get := func(url, name string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = name
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body), res.Header
	}
	url := "https://127.0.0.1:" + secure
	// The first request waits until both have started; its Host is the address,
	// which ALLOWED_HOSTS does not have.
	if res := predict(t, client, url); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a name that is not allowed: %d", res.StatusCode)
	}
	for range 50 {
		req, err := http.NewRequest(http.MethodPost, url+"/predict", strings.NewReader(guideBody))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.Contains(string(body), `"actions"`) {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		if id := res.Header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
			t.Fatalf("the request's id is %q, not nginx's", id)
		}
	}
	if code, body, _ := get(url+"/readyz", host); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	for _, path := range []string{"/v1/stream", "/"} {
		if got := upgraded(t, "127.0.0.1:"+secure, path, pool); got != "HTTP/1.1 101 Switching Protocols" {
			t.Errorf("an upgrade of %s: %s", path, got)
		}
	}
	code, metrics, _ := get(url+"/metrics", host)
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d", code)
	}
	// Connections to the server were kept: far fewer are open than requests were
	// sent, and some are.
	m := regexp.MustCompile(`(?m)^carla_rl_connections_open (\d+)$`).FindStringSubmatch(metrics)
	if m == nil {
		t.Fatal("no carla_rl_connections_open")
	}
	if n, _ := strconv.Atoi(m[1]); n < 1 || n > 5 {
		t.Errorf("%d connections are open", n)
	}
	if code, _, header := get("http://127.0.0.1:"+plain+"/predict", host); code != http.StatusPermanentRedirect || header.Get("Location") != "https://"+host+"/predict" {
		t.Errorf("without TLS: %d to %s", code, header.Get("Location"))
	}
}

// upgraded asks for WebSocket and returns the first line of the answer.
func upgraded(t *testing.T, addr, path string, pool *x509.CertPool) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path, host)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
