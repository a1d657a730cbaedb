package server

import "bytes"

// readMembers reads a body that is an object of a few members, each of which may
// be left out or null, as may be the body. read reads the value of the member
// whose place in names is i, and reports whether it is JSON.
func (x *exchange) readMembers(names []string, read func(d *inferDecoder, i int) bool) error {
	body := x.ctx.PostBody()
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := x.mediaType(); err != nil {
		return err
	}
	return decodeMembers(body, names, read)
}

// decodeMembers is readMembers of a body that is there.
func decodeMembers(body []byte, names []string, read func(d *inferDecoder, i int) bool) error {
	var d inferDecoder
	d.begin(body)
	ok := d.members("body", names, 0, func(i int, name []byte) bool {
		if i < 0 {
			return d.unknown("body", name, names) && d.skip(1)
		}
		if ok, null := d.null(); null {
			return ok
		}
		return read(&d, i)
	})
	switch {
	case !ok || !d.ends():
		return d.malformed()
	case d.count > 0:
		return d.refused()
	}
	return nil
}
