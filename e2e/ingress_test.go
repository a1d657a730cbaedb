//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// publicHost is the name that the guide gives the service to the outside.
const publicHost = "api.yourdomain.com"

// certificate writes a certificate for a name into a folder, as tls.crt and
// tls.key, and returns a client that trusts it alone and takes every address for
// that of ip.
func certificate(t *testing.T, dir, name, ip string) *http.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort(ip, port))
		},
	}}
}

// overTLS sends the guide's request by a client and says what came.
func overTLS(client *http.Client) (int, string, error) {
	req, err := http.NewRequest(http.MethodPost, "https://"+publicHost+"/predict", bytes.NewReader([]byte(guideRequest)))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", apiKey)
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// answersOverTLS waits until the guide's request is answered with an action.
func answersOverTLS(t *testing.T, client *http.Client) {
	t.Helper()
	waitFor(t, "an action from https://"+publicHost+"/predict", func() error {
		status, body, err := overTLS(client)
		if err == nil && (status != http.StatusOK || !strings.Contains(body, `"throttle"`)) {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
}

// withCertificate gives the Ingress of production a certificate, and waits until
// a client that trusts it has an answer.
func withCertificate(t *testing.T, ip string) {
	t.Helper()
	dir := t.TempDir()
	client := certificate(t, dir, publicHost, ip)
	shell(t, "kubectl -n "+production+" create secret tls model-serving-tls --dry-run=client -o yaml --cert="+filepath.Join(dir, "tls.crt")+
		" --key="+filepath.Join(dir, "tls.key")+" | kubectl apply --server-side --force-conflicts -f -")
	answersOverTLS(t, client)
}

// ingressWithTLS goes through the Ingress of production.
func ingressWithTLS(t *testing.T) {
	ip := clusterIP(t, "ingress-nginx", "ingress-nginx-controller")
	withCertificate(t, ip)
	// Without TLS there is only the way to it.
	waitFor(t, "plain HTTP leads to HTTPS", func() error {
		out := shell(t, "curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: "+publicHost+"' http://"+ip+"/healthz")
		if out != "308 https://"+publicHost+"/healthz" {
			return fmt.Errorf("curl has %q", out)
		}
		return nil
	})
	waitFor(t, "the Ingress has the address of its controller", func() error {
		if out := kubectl(t, "get", "ingress", "-n", production); !strings.Contains(out, ip) || !strings.Contains(out, "80, 443") {
			return fmt.Errorf("kubectl get ingress:\n%s", out)
		}
		return nil
	})
}

// throughHTTPRoute goes through a Gateway, with the Ingress taken away.
func throughHTTPRoute(t *testing.T) {
	ip := clusterIP(t, "ingress-nginx", "ingress-nginx-controller")
	dir := t.TempDir()
	client := certificate(t, dir, publicHost, ip)
	kubectl(t, "-n", production, "delete", "ingress", "model-serving-ingress")
	defer apply(t, "", manifest(t, "ingress.yaml"))
	waitFor(t, "no answer without Ingress and HTTPRoute", func() error {
		if status, _, err := overTLS(client); err == nil && status == http.StatusOK {
			return fmt.Errorf("it answers %d", status)
		}
		return nil
	})
	namespace(t, "gateway")
	kubectl(t, "-n", "gateway", "create", "secret", "tls", "public", "--cert="+filepath.Join(dir, "tls.crt"), "--key="+filepath.Join(dir, "tls.key"))
	apply(t, "", `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: public, namespace: gateway}, spec: {gatewayClassName: nginx,
  listeners: [{name: https, protocol: HTTPS, port: 443, hostname: `+publicHost+`, allowedRoutes: {namespaces: {from: All}},
    tls: {mode: Terminate, certificateRefs: [{name: public}]}}]}}`)
	apply(t, "", manifest(t, "httproute.yaml"))
	defer kubectl(t, "-n", production, "delete", "httproute", "model-serving")
	answersOverTLS(t, client)
}
