package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// firstInherited is the first descriptor that a service manager hands over
// (sd_listen_fds(3)).
const firstInherited = 3

// inherited are the listeners that a service manager opened for this process.
// A nil one was not handed over.
type inherited struct {
	http, metrics, admin net.Listener
}

// inheritListeners takes the sockets that systemd hands over to a service with
// a socket unit: LISTEN_FDS of them, from descriptor 3, where LISTEN_PID is this
// process. One that LISTEN_FDNAMES names metrics is for /metrics, one that it names
// admin for the routes of admins, another is the server's. The variables are unset, so that no child takes them for its.
func inheritListeners() (in inherited, err error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return inherited{}, err
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return inherited{}, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return inherited{}, fmt.Errorf("socket activation: LISTEN_FDS is %q", count)
	}
	called := strings.Split(names, ":")
	for i := range n {
		name := ""
		if i < len(called) {
			name = called[i]
		}
		f := os.NewFile(uintptr(firstInherited+i), name)
		if f == nil {
			return inherited{}, fmt.Errorf("socket activation: descriptor %d is not open", firstInherited+i)
		}
		ln, err := net.FileListener(f) // a copy, which no child inherits
		_ = f.Close()
		if err != nil {
			return inherited{}, fmt.Errorf("socket activation: descriptor %d is no socket that listens: %w", firstInherited+i, err)
		}
		slot := &in.http
		switch {
		case name == "metrics" || strings.Contains(name, "metrics.socket"):
			slot = &in.metrics
		case name == "admin" || strings.Contains(name, "admin.socket"):
			slot = &in.admin
		}
		if *slot != nil {
			return inherited{}, fmt.Errorf("socket activation: socket %q is one too many: there is one for the server, and one each with FileDescriptorName=metrics and =admin", name)
		}
		*slot = inheritedListener{ln}
	}
	if in.http == nil && (in.metrics != nil || in.admin != nil) {
		return inherited{}, errors.New("socket activation: there is a socket for metrics or for admins and none for the server")
	}
	return in, nil
}

// inheritedListener is a listener whose socket the service manager keeps open.
// It hides its descriptor: the filter by which a stopping server refuses new
// connections would stay on the socket, and those that wait in its queue are
// not lost when this process closes it, since the next one accepts them.
type inheritedListener struct{ net.Listener }

// adopt sets what the configuration says of where the server listens to what
// holds: the address of a socket that was handed over.
func adopt(cfg *config.Config, in inherited, log *slog.Logger) {
	if in.admin != nil && cfg.Server.AdminListen == "" {
		a := in.admin.Addr()
		cfg.Server.AdminListen = a.String()
		if a.Network() == "unix" {
			cfg.Server.AdminListen = "unix://" + a.String()
		}
	}
	if in.http == nil {
		return
	}
	log.Info("listening on a socket of the service manager", "event_type", "startup", "address", in.http.Addr().String())
	if a, ok := in.http.Addr().(*net.TCPAddr); ok {
		cfg.Server.Host, cfg.Server.Port = a.IP.String(), a.Port
		if cfg.Exposed() && !cfg.HasKey() {
			log.Warn("configuration", "event_type", "startup", "note", fmt.Sprintf("The server listens on %s without an API key: whoever reaches the port may use the policy. Set API_KEY_FILE.", a))
		}
	}
}

// notifyManager tells the service manager of the process's state (sd_notify(3)):
// READY=1, STOPPING=1, STATUS=... Without one, nothing is done; one that does
// not listen is not waited for.
func notifyManager(lines ...string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	// A manager that does not read must not keep the server from stopping.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}

// tellManager notifies the service manager and logs where that fails.
func tellManager(log *slog.Logger, lines ...string) {
	if err := notifyManager(lines...); err != nil {
		log.Warn("did not reach the service manager", "error", err)
	}
}
