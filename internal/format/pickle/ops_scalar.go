package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxIntBytes bounds an integer: the largest in real files is the state of a
// random generator of 2.5 kB.
const maxIntBytes = 4 << 10

func constant(v Value) func(*machine) error {
	return func(m *machine) error { m.push(v); return nil }
}

func refuse(why string) func(*machine) error {
	return func(*machine) error { return errors.New(why) }
}

// sized reads a length by one of the machine's readers and hands over as many
// bytes.
func sized(length func(*machine) (uint64, error), use func(*machine, []byte) error) func(*machine) error {
	return func(m *machine) error {
		n, err := length(m)
		if err != nil {
			return err
		}
		b, err := m.bytes(n)
		if err != nil {
			return err
		}
		return use(m, b)
	}
}

func (m *machine) opProto() error {
	v, err := m.uint8()
	if err != nil {
		return err
	}
	if v > 5 {
		return fmt.Errorf("protocol %d, at most 5 is known", v)
	}
	return nil
}

func (m *machine) opFrame() error {
	n, err := m.uint64()
	if err != nil {
		return err
	}
	if n > uint64(len(m.data)-m.pos) {
		return fmt.Errorf("%w: a frame of %d bytes, %d left", errShort, n, len(m.data)-m.pos)
	}
	return nil
}

func (m *machine) opInt() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	switch s { // how protocols 0 and 1 write booleans
	case "00":
		m.push(false)
		return nil
	case "01":
		m.push(true)
		return nil
	}
	return m.pushDecimal(s)
}

func (m *machine) opLong() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	return m.pushDecimal(strings.TrimSuffix(s, "L"))
}

// pushDecimal pushes an integer written in decimal.
func (m *machine) pushDecimal(s string) error {
	if digits := strings.TrimPrefix(s, "-"); digits == "" || strings.Trim(digits, "0123456789") != "" {
		return fmt.Errorf("%s is not an integer", quote(s))
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		m.push(n)
		return nil
	}
	if len(s) > maxIntBytes {
		return fmt.Errorf("%w: an integer of %d digits", ErrLimit, len(s))
	}
	n, _ := new(big.Int).SetString(s, 10)
	m.push(n)
	return nil
}

func (m *machine) opFloat() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	switch s {
	case "nan":
		m.push(math.NaN())
		return nil
	case "inf":
		m.push(math.Inf(1))
		return nil
	case "-inf":
		m.push(math.Inf(-1))
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // Python reads an infinity or a zero here, as ParseFloat does
	}
	if err != nil || strings.Trim(s, "0123456789+-.eE") != "" {
		return fmt.Errorf("%s is not a number", quote(s))
	}
	m.push(f)
	return nil
}

func (m *machine) opBinInt() error {
	n, err := m.uint32()
	if err != nil {
		return err
	}
	m.push(int64(int32(n)))
	return nil
}

func (m *machine) opBinInt1() error {
	n, err := m.uint8()
	if err != nil {
		return err
	}
	m.push(int64(n))
	return nil
}

func (m *machine) opBinInt2() error {
	n, err := m.uint16()
	if err != nil {
		return err
	}
	m.push(int64(n))
	return nil
}

func (m *machine) opLong1() error {
	n, err := m.uint8()
	if err != nil {
		return err
	}
	return m.pushLong(n)
}

func (m *machine) opLong4() error {
	n, err := m.uint32()
	if err != nil {
		return err
	}
	if int32(n) < 0 {
		return fmt.Errorf("negative length %d", int32(n))
	}
	return m.pushLong(n)
}

// pushLong pushes an integer of n bytes, little-endian in two's complement.
func (m *machine) pushLong(n uint64) error {
	b, err := m.bytes(n)
	if err != nil {
		return err
	}
	if n > maxIntBytes {
		return fmt.Errorf("%w: an integer of %d bytes", ErrLimit, n)
	}
	if n <= 8 {
		var w [8]byte
		if n > 0 && b[n-1]&0x80 != 0 {
			w = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		copy(w[:], b)
		m.push(int64(binary.LittleEndian.Uint64(w[:])))
		return nil
	}
	be := make([]byte, n)
	for i, c := range b {
		be[len(be)-1-i] = c
	}
	v := new(big.Int).SetBytes(be)
	if be[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	if v.IsInt64() {
		m.push(v.Int64())
	} else {
		m.push(v)
	}
	return nil
}

func (m *machine) opBinFloat() error {
	b, err := m.bytes(8)
	if err != nil {
		return err
	}
	m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	return nil
}

func (m *machine) pushString(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("text is not UTF-8")
	}
	m.push(string(b))
	return nil
}

// pushRawString pushes a str of Python 2, which is bytes: in the files that
// have them they are names and array data.
func (m *machine) pushRawString(b []byte) error {
	m.push(string(b))
	return nil
}

func (m *machine) pushBytes(b []byte) error {
	m.push(b)
	return nil
}

func (m *machine) opBinString() error {
	n, err := m.uint32()
	if err != nil {
		return err
	}
	if int32(n) < 0 {
		return fmt.Errorf("negative length %d", int32(n))
	}
	b, err := m.bytes(n)
	if err != nil {
		return err
	}
	return m.pushRawString(b)
}

// opString reads a str of Python 2 as its repr.
func (m *machine) opString() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	s = strings.TrimRight(s, " \t\r")
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '\'' && s[0] != '"') {
		return fmt.Errorf("%s is not a quoted string", quote(s))
	}
	out, err := unescape(s[1:len(s)-1], `\'"abfnrtvx01234567`)
	if err != nil {
		return err
	}
	m.push(out)
	return nil
}

// opUnicode reads a text in raw-unicode-escape: Latin-1 in which \u and \U
// are escapes and nothing else is.
func (m *machine) opUnicode() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	out, err := unescape(latin1(s), "uU")
	if err != nil {
		return err
	}
	m.push(out)
	return nil
}

// latin1 returns the text whose Latin-1 form is s.
func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// unescape resolves the escapes that are known; a backslash before another
// character stays.
func unescape(s, known string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) || strings.IndexByte(known, s[i+1]) < 0 {
			b.WriteByte(s[i])
			continue
		}
		i++
		digits, base := 0, 16
		switch c := s[i]; c {
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		case '0', '1', '2', '3', '4', '5', '6', '7':
			i, base = i-1, 8
			for digits = 1; digits < 3 && i+1+digits < len(s) && s[i+1+digits]-'0' < 8; digits++ {
			}
		default:
			if j := strings.IndexByte("abfnrtv", c); j >= 0 {
				c = "\a\b\f\n\r\t\v"[j]
			}
			b.WriteByte(c)
			continue
		}
		if i+1+digits > len(s) {
			return "", errors.New("incomplete escape in a string")
		}
		n, err := strconv.ParseUint(s[i+1:i+1+digits], base, 32)
		if err != nil {
			return "", fmt.Errorf("bad escape %s in a string", quote(s[i:i+1+digits]))
		}
		i += digits
		if digits > 3 {
			if !utf8.ValidRune(rune(n)) {
				return "", fmt.Errorf("escape of U+%X, which is no character", n)
			}
			b.WriteRune(rune(n))
		} else {
			b.WriteByte(byte(n))
		}
	}
	return b.String(), nil
}
