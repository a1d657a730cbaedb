package server

// head is what the gate saw of one request whose header lies in one piece: what
// the hot routes need of it. It is valid as long as those bytes.
type head struct {
	method, target, host         []byte
	contentType, inferLength, id []byte
	apiKey, authorization        []byte

	// plain says that the request can be answered from what is here. One that
	// asks for anything else, or says a thing twice, is left to the parser of
	// the whole protocol.
	plain bool
	given headFields
}

// headFields are the fields that may come once.
type headFields uint8

const (
	headHost headFields = 1 << iota
	headContentType
	headInferLength
	headID
	headAPIKey
	headAuthorization
)

func (h *head) begin(method, target []byte, http10 bool) {
	*h = head{method: method, target: target, plain: !http10 && target[0] == '/'}
}

// field notes a header field, whose value may have blanks around it.
func (h *head) field(name, value []byte) {
	switch len(name) {
	case len("Host"):
		if foldEqual(name, "host") {
			h.once(headHost, &h.host, value)
			h.plain = h.plain && plainHost(h.host)
		}
	case len("Origin"): // and Expect
		if foldEqual(name, "origin") || foldEqual(name, "expect") {
			h.plain = false
		}
	case len("Upgrade"): // and Trailer
		if foldEqual(name, "upgrade") || foldEqual(name, "trailer") {
			h.plain = false
		}
	case len("X-API-Key"):
		if foldEqual(name, "x-api-key") {
			h.once(headAPIKey, &h.apiKey, value)
		}
	case len("Connection"):
		if foldEqual(name, "connection") && !foldEqual(trimBlanks(value), "keep-alive") {
			h.plain = false
		}
	case len("Content-Type"): // and X-Request-ID
		if foldEqual(name, "content-type") {
			h.once(headContentType, &h.contentType, value)
		} else if foldEqual(name, "x-request-id") {
			h.once(headID, &h.id, value)
		}
	case len("Authorization"):
		if foldEqual(name, "authorization") {
			h.once(headAuthorization, &h.authorization, value)
		}
	case len("Content-Encoding"):
		if foldEqual(name, "content-encoding") {
			h.plain = false
		}
	case len("Transfer-Encoding"):
		if foldEqual(name, "transfer-encoding") {
			h.plain = false
		}
	case len("Inference-Header-Content-Length"):
		if foldEqual(name, "inference-header-content-length") {
			h.once(headInferLength, &h.inferLength, value)
		}
	}
}

func (h *head) once(f headFields, dst *[]byte, value []byte) {
	if h.given&f != 0 {
		h.plain = false
	}
	h.given |= f
	*dst = trimBlanks(value)
}

// plainHost reports whether a host is a name or an IPv4 address, and a port or
// none. What is more is for the parser to judge.
func plainHost(b []byte) bool {
	i := 0
	for i < len(b) && (alphanumeric(b[i]) || b[i] == '.' || b[i] == '-') {
		i++
	}
	if i == 0 || i == len(b) {
		return i > 0
	}
	port := b[i+1:]
	for _, c := range port {
		if !digit(c) {
			return false
		}
	}
	return b[i] == ':' && len(port) > 0 && len(port) <= 5
}
