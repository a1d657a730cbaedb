package torchexport

import "bytes"

// quoteNonFinite puts quotes around NaN, Infinity and -Infinity, which are no
// JSON: the json of Python, and so torch before 2.8, writes them bare, as the
// bound of a dimension that has none.
func quoteNonFinite(b []byte) []byte {
	if !bytes.Contains(b, []byte("Infinity")) && !bytes.Contains(b, []byte("NaN")) {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/64)
	text := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\' && i+1 < len(b):
			out = append(out, c)
			i++
		case c == '"':
			text = !text
		case !text && (c == '-' || c == 'I' || c == 'N'):
			if n := nonFinite(b[i:]); n > 0 {
				out = append(out, '"')
				out = append(out, b[i:i+n]...)
				out = append(out, '"')
				i += n - 1
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}

// nonFinite returns the length of the word that b begins with, or 0.
func nonFinite(b []byte) int {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(b, []byte(word)) {
			return len(word)
		}
	}
	return 0
}
