package websocket

// room makes the buffer hold n bytes from r on, and keeps the last message
// valid where Poll looks for the next.
func (c *Conn) room(n int) error {
	if len(c.buf)-c.r >= n {
		return nil
	}
	if c.held == heldInBuf {
		// The message stays where it is, and reading goes on in the other buffer.
		if len(c.spare) < n {
			if err := c.replace(&c.spare, n, nil); err != nil {
				return err
			}
		}
		c.w = copy(c.spare, c.buf[c.r:c.w])
		c.r, c.buf, c.spare, c.held = 0, c.spare, c.buf, heldInSpare
		return nil
	}
	if len(c.buf) < n {
		if err := c.replace(&c.buf, n, c.buf[c.r:c.w]); err != nil {
			return err
		}
		c.w -= c.r
	} else {
		c.w = copy(c.buf, c.buf[c.r:c.w])
	}
	c.r = 0
	return nil
}

// replace makes *b a buffer of at least n bytes that begins with keep.
func (c *Conn) replace(b *[]byte, n int, keep []byte) error {
	size := max(n, min(2*len(*b), c.o.MaxMessage+maxHeader), firstBuffer)
	if err := c.claim(size, cap(*b)); err != nil {
		return err
	}
	next := make([]byte, size)
	copy(next, keep)
	*b = next
	return nil
}

// enough returns b with room for n bytes, none of them lost.
func (c *Conn) enough(b []byte, n int) ([]byte, error) {
	if n <= cap(b) {
		return b, nil
	}
	size := max(n, min(2*cap(b), c.o.MaxMessage+maxHeader), firstBuffer)
	if err := c.claim(size, cap(b)); err != nil {
		return b, err
	}
	return append(make([]byte, 0, size), b...), nil
}

// claim asks for the memory of a buffer that takes the place of another.
func (c *Conn) claim(size, before int) error {
	counted := func(n int) int {
		if n <= SmallMessage {
			return 0
		}
		return n
	}
	n := counted(size) - counted(before)
	if c.o.Grow == nil || n == 0 {
		return nil
	}
	if n > 0 && !c.o.Grow(n) {
		return &CloseError{Code: CloseTryAgain, Reason: "there is no memory for a message of this size now"}
	}
	if n < 0 {
		c.o.Grow(n)
	}
	c.claimed += n
	return nil
}

// Release gives back the memory of large buffers. The last message is no
// longer valid.
func (c *Conn) Release() {
	if c.claimed == 0 {
		return
	}
	if c.w-c.r <= firstBuffer && cap(c.buf) > SmallMessage {
		small := make([]byte, firstBuffer)
		c.w = copy(small, c.buf[c.r:c.w])
		c.claimFree(&c.buf)
		c.buf, c.r = small, 0
	}
	c.claimFree(&c.spare)
	c.claimFree(&c.finished)
	if len(c.fragments) == 0 {
		c.claimFree(&c.fragments)
	}
}

// claimFree gives up a large buffer.
func (c *Conn) claimFree(b *[]byte) {
	if cap(*b) > SmallMessage {
		_ = c.claim(0, cap(*b)) // giving back is not refused
		*b = nil
	}
}

// End releases what the Conn holds. It must not be used afterwards.
func (c *Conn) End() {
	if c.o.Grow != nil && c.claimed > 0 {
		c.o.Grow(-c.claimed)
	}
	c.claimed, c.buf, c.spare, c.fragments, c.finished, c.out = 0, nil, nil, nil, nil, nil
}
