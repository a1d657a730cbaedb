package experience

import (
	"fmt"
	"math"
	"unsafe"

	"modernc.org/libc"
	sqlite "modernc.org/sqlite/lib"
)

// A connection to SQLite, through the library itself: what database/sql puts
// between costs more than the rows that are written here. Memory that the
// library sees is its own, never Go's.

// sqliteError is what the library said.
type sqliteError struct {
	code    int32 // extended
	message string
	doing   string
}

func (e *sqliteError) Error() string {
	return fmt.Sprintf("%s: %s (SQLite error %d)", e.doing, e.message, e.code)
}

// primary is the code without its details.
func (e *sqliteError) primary() int32 { return e.code & 0xff }

// conn is one connection. One goroutine at a time may use it.
type conn struct {
	tls *libc.TLS
	db  uintptr
}

// openConn opens the file of a path, which is no URI.
func openConn(path string, flags int32) (*conn, error) {
	c := &conn{tls: libc.NewTLS()}
	name, err := libc.CString(path)
	if err != nil {
		c.tls.Close()
		return nil, err
	}
	defer libc.Xfree(c.tls, name)
	out := libc.Xcalloc(c.tls, 1, 8)
	defer libc.Xfree(c.tls, out)
	rc := sqlite.Xsqlite3_open_v2(c.tls, name, out, flags, 0)
	c.db = readPointer(out)
	if rc != sqlite.SQLITE_OK {
		err := c.fail(rc, "open")
		c.close()
		return nil, err
	}
	sqlite.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	sqlite.Xsqlite3_busy_timeout(c.tls, c.db, 5000)
	return c, nil
}

func readPointer(p uintptr) uintptr { return *(*uintptr)(pointer(p)) }

// pointer is the memory at an address of the library's, which the garbage
// collector neither moves nor frees.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func (c *conn) fail(rc int32, doing string) error {
	e := &sqliteError{code: rc, doing: doing}
	if c.db != 0 {
		e.code = sqlite.Xsqlite3_extended_errcode(c.tls, c.db)
		e.message = libc.GoString(sqlite.Xsqlite3_errmsg(c.tls, c.db))
		if e.code == sqlite.SQLITE_OK {
			e.code = rc
		}
	}
	if e.message == "" || e.message == "not an error" {
		e.message = libc.GoString(sqlite.Xsqlite3_errstr(c.tls, rc))
	}
	return e
}

// close closes the connection, whose statements must have been finalized.
func (c *conn) close() error {
	var err error
	if c.db != 0 {
		if rc := sqlite.Xsqlite3_close_v2(c.tls, c.db); rc != sqlite.SQLITE_OK {
			err = c.fail(rc, "close")
		}
	}
	c.db = 0
	c.tls.Close()
	return err
}

// exec runs statements without parameters.
func (c *conn) exec(sql string) error {
	text, err := libc.CString(sql)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, text)
	if rc := sqlite.Xsqlite3_exec(c.tls, c.db, text, 0, 0, 0); rc != sqlite.SQLITE_OK {
		return c.fail(rc, firstWords(sql))
	}
	return nil
}

// number runs a query of one number.
func (c *conn) number(sql string, args ...any) (n int64, err error) {
	err = c.query(sql, args, func(s *stmt) error {
		n = s.int(0)
		return nil
	})
	return n, err
}

// query runs a query and gives each of its rows.
func (c *conn) query(sql string, args []any, row func(*stmt) error) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.bind(args...); err != nil {
		return err
	}
	for {
		more, err := s.step()
		if err != nil || !more {
			return err
		}
		if err := row(s); err != nil {
			return err
		}
	}
}

func (c *conn) run(sql string, args ...any) error {
	return c.query(sql, args, func(*stmt) error { return nil })
}

// stmt is a prepared statement.
type stmt struct {
	c     *conn
	p     uintptr
	doing string

	mem  uintptr // scratch for what is bound
	size int
	used int
}

func (c *conn) prepare(sql string) (*stmt, error) {
	text, err := libc.CString(sql)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, text)
	out := libc.Xcalloc(c.tls, 1, 8)
	defer libc.Xfree(c.tls, out)
	if rc := sqlite.Xsqlite3_prepare_v2(c.tls, c.db, text, -1, out, 0); rc != sqlite.SQLITE_OK {
		return nil, c.fail(rc, firstWords(sql))
	}
	return &stmt{c: c, p: readPointer(out), doing: firstWords(sql)}, nil
}

// firstWords is what an error says of a statement.
func firstWords(sql string) string {
	const most = 48
	if len(sql) > most {
		return sql[:most] + "..."
	}
	return sql
}

func (s *stmt) close() {
	sqlite.Xsqlite3_finalize(s.c.tls, s.p)
	if s.mem != 0 {
		libc.Xfree(s.c.tls, s.mem)
	}
	*s = stmt{}
}

// step takes the next row. Whoever has had the last one may bind anew.
func (s *stmt) step() (row bool, err error) {
	switch rc := sqlite.Xsqlite3_step(s.c.tls, s.p); rc {
	case sqlite.SQLITE_ROW:
		return true, nil
	case sqlite.SQLITE_DONE:
		sqlite.Xsqlite3_reset(s.c.tls, s.p)
		return false, nil
	default:
		err := s.c.fail(rc, s.doing)
		sqlite.Xsqlite3_reset(s.c.tls, s.p)
		return false, err
	}
}

// room makes scratch for n bytes of what is bound next; what was bound before
// must not be used any more.
func (s *stmt) room(n int) error {
	s.used = 0
	if n <= s.size {
		return nil
	}
	n = max(n, 4096)
	mem := libc.Xrealloc(s.c.tls, s.mem, libc.Tsize_t(n))
	if mem == 0 {
		return &sqliteError{code: sqlite.SQLITE_NOMEM, doing: s.doing, message: "out of memory"}
	}
	s.mem, s.size = mem, n
	return nil
}

// put copies bytes to the scratch and returns where they are.
func (s *stmt) put(b []byte) uintptr {
	at := s.mem + uintptr(s.used)
	copy(unsafe.Slice((*byte)(pointer(at)), len(b)), b)
	s.used += len(b)
	return at
}

func (s *stmt) bindInt(i int, v int64) { sqlite.Xsqlite3_bind_int64(s.c.tls, s.p, int32(i), v) }
func (s *stmt) bindFloat(i int, v float64) {
	sqlite.Xsqlite3_bind_double(s.c.tls, s.p, int32(i), v)
}
func (s *stmt) bindNull(i int) { sqlite.Xsqlite3_bind_null(s.c.tls, s.p, int32(i)) }

// bindText and bindBytes want room made for them.
func (s *stmt) bindText(i int, v string) {
	s.bindTextBytes(i, unsafe.Slice(unsafe.StringData(v), len(v)))
}

func (s *stmt) bindTextBytes(i int, v []byte) {
	sqlite.Xsqlite3_bind_text(s.c.tls, s.p, int32(i), s.put(v), int32(len(v)), 0)
}

func (s *stmt) bindBytes(i int, v []byte) {
	if len(v) == 0 { // An address of nothing would be NULL.
		sqlite.Xsqlite3_bind_zeroblob(s.c.tls, s.p, int32(i), 0)
		return
	}
	sqlite.Xsqlite3_bind_blob(s.c.tls, s.p, int32(i), s.put(v), int32(len(v)), 0)
}

func (s *stmt) bindFloats(i int, v []float32) { s.bindBytes(i, bytesOf(v)) }

// bytesOf is the memory of numbers, in the order of bytes of the machine, which
// is little-endian wherever there is a build.
func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// bind binds all parameters, for statements that are not hot.
func (s *stmt) bind(args ...any) error {
	n := 1
	for _, a := range args {
		switch a := a.(type) {
		case string:
			n += len(a) + 1
		case []byte:
			n += len(a)
		}
	}
	if err := s.room(n); err != nil {
		return err
	}
	for i, a := range args {
		i++
		switch a := a.(type) {
		case nil:
			s.bindNull(i)
		case int:
			s.bindInt(i, int64(a))
		case int64:
			s.bindInt(i, a)
		case uint64:
			s.bindInt(i, int64(a))
		case bool:
			v := int64(0)
			if a {
				v = 1
			}
			s.bindInt(i, v)
		case float64:
			s.bindFloat(i, a)
		case *float64:
			if a == nil {
				s.bindNull(i)
			} else {
				s.bindFloat(i, *a)
			}
		case string:
			s.bindText(i, a)
		case []byte:
			s.bindBytes(i, a)
		default:
			panic(fmt.Sprintf("experience: a parameter of type %T", a))
		}
	}
	return nil
}

func (s *stmt) int(i int) int64 { return sqlite.Xsqlite3_column_int64(s.c.tls, s.p, int32(i)) }
func (s *stmt) float(i int) float64 {
	return sqlite.Xsqlite3_column_double(s.c.tls, s.p, int32(i))
}
func (s *stmt) null(i int) bool {
	return sqlite.Xsqlite3_column_type(s.c.tls, s.p, int32(i)) == sqlite.SQLITE_NULL
}

// raw is the text or the blob of a column, valid until the next step.
func (s *stmt) raw(i int) []byte {
	p := sqlite.Xsqlite3_column_blob(s.c.tls, s.p, int32(i))
	n := sqlite.Xsqlite3_column_bytes(s.c.tls, s.p, int32(i))
	if p == 0 || n <= 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(p)), int(n))
}

func (s *stmt) text(i int) string { return string(s.raw(i)) }

// textOr is text in place of which had is returned where it is the same, so
// that what repeats is not made anew.
func (s *stmt) textOr(i int, had string) string {
	b := s.raw(i)
	if string(b) == had {
		return had
	}
	return string(b)
}

// floats appends the numbers of a blob.
func (s *stmt) floats(i int, to []float32) ([]float32, error) {
	b := s.raw(i)
	if len(b)%4 != 0 {
		return to, fmt.Errorf("%s: column %d has %d bytes, which are no float32", s.doing, i, len(b))
	}
	for ; len(b) > 0; b = b[4:] {
		to = append(to, math.Float32frombits(le.Uint32(b)))
	}
	return to, nil
}
