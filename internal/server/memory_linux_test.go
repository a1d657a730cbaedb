package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestLargeBodiesLeaveRoomForOthers holds that an address that announces large
// bodies and sends nothing is refused at its share, and that another address
// is served. On Linux all of 127.0.0.0/8 is this machine.
func TestLargeBodiesLeaveRoomForOthers(t *testing.T) {
	limits := fast()
	limits.MaxBodyBytes, limits.MaxBufferBytes = 1<<20, 4<<20
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	body := guideRequest + strings.Repeat(" ", 1_000_000-len(guideRequest))
	head := func(expect string) string {
		return fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n", expect, len(body))
	}
	for range 2 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, head("Expect: 100-continue\r\n")); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(newReader(c), nil); err != nil || resp.StatusCode != 100 {
			t.Fatalf("within the share: %v %v", resp, err)
		}
	}
	if answers, _ := s.raw(head("")); len(answers) != 1 || answers[0].status != 503 || answers[0].code(t) != "TOO_MANY_LARGE_BODIES" {
		t.Errorf("beyond the share: %+v", answers)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := other.DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, head("")+body); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(newReader(c), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("another address: %v %v", resp, err)
	}
}
