// Package websocket carries messages over a connection whose upgrade from HTTP
// is done: RFC 6455 without extensions, so nothing is ever inflated.
//
// What enters is a net.Conn; what leaves are whole messages, within limits of
// size, number of fragments and time. The rules of frames (which bits, codes
// and lengths are legal) and the masking are those of github.com/gobwas/ws.
// The package knows no HTTP and none of our other packages.
//
// A Conn is used by one goroutine, which reads, answers pings and writes; no
// goroutine runs beside it. Interrupt alone may be called by others. Reading
// and writing allocate nothing once the buffers have grown.
package websocket

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// Op is the kind of a message.
type Op = ws.OpCode

// The two kinds of messages.
const (
	Text   = ws.OpText
	Binary = ws.OpBinary
)

// Close codes of RFC 6455, and 1013 of IANA's registry.
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001
	CloseProtocol    = 1002
	CloseInvalidText = 1007
	ClosePolicy      = 1008
	CloseTooBig      = 1009
	CloseInternal    = 1011
	CloseTryAgain    = 1013
)

// Options are the limits of a Conn. Zero fields stand for the defaults.
type Options struct {
	MaxMessage     int           // bytes of one message, its fragments together; default 8 MiB
	MaxFragments   int           // frames of one message; default 1024
	MessageTimeout time.Duration // from the first byte of a message to its last; default 30 s
	WriteTimeout   time.Duration // for a frame that the peer does not read; default 3 s
	Ping           time.Duration // a peer that is silent for this long is asked, for twice as long given up; default 15 s
	// Grow is asked before a buffer for a message takes more than SmallMessage
	// bytes, with what all buffers then take beyond what they took; with a
	// negative number it is told that memory was given back. nil allows it.
	Grow func(n int) bool
	// Client makes the Conn the client's end, which masks what it sends, by a
	// mask that can be guessed: it is for tests and tools.
	Client bool
}

// SmallMessage is the size of a buffer that every Conn may have.
const SmallMessage = 32 << 10

const (
	firstBuffer   = 4 << 10
	maxHeader     = ws.MaxHeaderSize // with a mask
	controlBurst  = 128              // control frames in a second
	closeLinger   = time.Second      // for the peer to answer a Close
	maxReasonSize = ws.MaxControlFramePayloadSize - 2
)

// Errors of Read and Poll besides *CloseError and those of the connection.
var (
	// ErrDead says that the peer has not been heard of for twice Options.Ping.
	ErrDead = errors.New("the peer is silent")
	// ErrInterrupted says that Interrupt was called.
	ErrInterrupted = errors.New("the connection was interrupted")
)

// CloseError ends a connection. Sent by the peer, it holds what the peer said;
// otherwise what the peer is to be told.
type CloseError struct {
	Code   int
	Reason string
	Peer   bool // the peer closed, and has been answered
}

func (e *CloseError) Error() string {
	who := "closing"
	if e.Peer {
		who = "the peer closed"
	}
	return fmt.Sprintf("%s: %d %s", who, e.Code, e.Reason)
}

// Message is one message.
type Message struct {
	Op      Op
	Payload []byte
}

// Conn is one end of a WebSocket.
type Conn struct {
	conn net.Conn
	o    Options

	buf        []byte // what has been read lies in buf[r:w]
	r, w       int
	spare      []byte    // buffer that is not read into
	held       int       // where the last message lies: heldNowhere, ...
	drained    bool      // the last read took all that had arrived
	fragments  []byte    // of the message under way
	finished   []byte    // buffer of the last message that came in fragments
	state      ws.State  // whose end this is, and whether a message is under way
	op         Op        // of the message under way
	frames     int       // of the message under way
	began      time.Time // of the message under way, zero without
	controls   int       // control frames since second
	second     time.Time
	claimed    int
	peerClosed bool

	heard     time.Time // when bytes last came
	asked     bool      // by a ping since then
	readUntil time.Time // deadline that the connection has been told
	sendUntil time.Time
	stopped   atomic.Bool

	raw     syscall.RawConn // nil where what has arrived cannot be asked for
	through bool            // raw lies below another layer, which must read
	try     func(fd uintptr) bool
	tryInto []byte
	tried   int
	tryErr  error

	out   []byte
	small [maxHeader + ws.MaxControlFramePayloadSize]byte // of control frames
	mask  uint32
}

// Where the last message lies.
const (
	heldNowhere = iota // not in the two buffers, or no longer asked for
	heldInBuf
	heldInSpare
)

// New returns a Conn on c, which the caller closes.
func New(c net.Conn, o Options) *Conn {
	setDefault(&o.MaxMessage, 8<<20)
	setDefault(&o.MaxFragments, 1024)
	setDefault(&o.MessageTimeout, 30*time.Second)
	setDefault(&o.WriteTimeout, 3*time.Second)
	setDefault(&o.Ping, 15*time.Second)
	w := &Conn{conn: c, o: o, state: ws.StateServerSide, buf: make([]byte, firstBuffer), heard: time.Now(), mask: 0x9e3779b9}
	if o.Client {
		w.state = ws.StateClientSide
	}
	w.findRaw()
	return w
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Heard returns when bytes last came from the peer.
func (c *Conn) Heard() time.Time { return c.heard }

// Interrupt makes the Read under way, or the next, return ErrInterrupted once
// there is no whole message to return. Any goroutine may call it.
func (c *Conn) Interrupt() {
	c.stopped.Store(true)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // a connection that has failed needs no deadline
}

// Read returns the next message and waits for it. Meanwhile it answers pings
// and asks a silent peer. The payload is valid until the next Read, and until
// a Poll that returns a message. After an error there is nothing more to read.
func (c *Conn) Read() (Message, error) {
	c.held, c.drained = heldNowhere, false
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	for {
		m, ok, err := c.parse()
		if ok || err != nil {
			return m, err
		}
		if err := c.fill(); err != nil {
			return Message{}, err
		}
	}
}

// Poll is Read for a message that has arrived already: it does not wait. The
// message before stays valid where there is none, and where there is one until
// the next Read or Poll. Of a connection through TLS, and on systems where a
// socket cannot be asked, "arrived" may leave out the last bytes.
func (c *Conn) Poll() (m Message, ok bool, err error) {
	for {
		if m, ok, err = c.parse(); ok || err != nil {
			return m, ok, err
		}
		if more, err := c.fillNow(); !more || err != nil {
			return m, false, err
		}
	}
}

// parse takes frames out of the buffer until a message is whole.
func (c *Conn) parse() (m Message, ok bool, err error) {
	for {
		h, size, err := readHeader(c.buf[c.r:c.w])
		if err != nil {
			return m, false, err
		}
		if size == 0 {
			if c.w > c.r {
				c.begin()
			}
			return m, false, nil
		}
		if err := c.check(h); err != nil {
			return m, false, err
		}
		n := int(h.Length) // within MaxMessage
		if c.w-c.r < size+n {
			c.begin()
			return m, false, c.room(size + n)
		}
		payload := c.buf[c.r+size:][:n:n]
		c.r += size + n
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		if h.OpCode.IsControl() {
			if err := c.control(h.OpCode, payload); err != nil {
				return m, false, err
			}
			continue
		}
		if h.OpCode != ws.OpContinuation {
			c.op = h.OpCode
		}
		if h.Fin && h.OpCode != ws.OpContinuation {
			c.held = heldInBuf
			return c.whole(payload)
		}
		if err := c.fragment(payload); err != nil {
			return m, false, err
		}
		if h.Fin {
			// The buffer of the last message but one is free for the next.
			c.fragments, c.finished = c.finished[:0], c.fragments
			c.held = heldNowhere
			return c.whole(c.finished)
		}
	}
}

// check holds the header of a frame to the rules and limits, before any byte
// of its payload is waited for.
func (c *Conn) check(h ws.Header) error {
	if err := ws.CheckHeader(h, c.state); err != nil {
		return &CloseError{Code: CloseProtocol, Reason: err.Error()}
	}
	if !h.OpCode.IsControl() && h.Length > int64(c.o.MaxMessage-len(c.fragments)) {
		return &CloseError{Code: CloseTooBig, Reason: fmt.Sprintf("a message may have %d bytes", c.o.MaxMessage)}
	}
	return nil
}

// whole returns a message that is complete.
func (c *Conn) whole(payload []byte) (m Message, ok bool, err error) {
	c.state, c.frames, c.began = c.state.Clear(ws.StateFragmented), 0, time.Time{}
	if c.op == Text && !validText(payload) {
		return m, false, &CloseError{Code: CloseInvalidText, Reason: "a text message is not UTF-8"}
	}
	return Message{Op: c.op, Payload: payload}, true, nil
}

// begin notes when the first bytes of a message came.
func (c *Conn) begin() {
	if c.began.IsZero() {
		c.began = c.heard
	}
}

// fragment keeps a part of a message.
func (c *Conn) fragment(payload []byte) error {
	c.begin()
	c.state = c.state.Set(ws.StateFragmented)
	if c.frames++; c.frames >= c.o.MaxFragments {
		return &CloseError{Code: ClosePolicy, Reason: fmt.Sprintf("a message may have %d fragments", c.o.MaxFragments)}
	}
	var err error
	if c.fragments, err = c.enough(c.fragments, len(c.fragments)+len(payload)); err != nil {
		return err
	}
	c.fragments = append(c.fragments, payload...)
	return nil
}
