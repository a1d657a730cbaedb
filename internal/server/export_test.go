package server

// StreamCount returns the number of open streams.
func (s *Server) StreamCount() int { return s.streams.len() }
