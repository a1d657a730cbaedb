package server

// StreamCount returns the number of open streams.
func (s *Server) StreamCount() int { return s.streams.len() }

// Endpoint is a route as the server has it.
type Endpoint struct {
	Template string
	Methods  []string
}

// Endpoints lists every route of the server.
func (s *Server) Endpoints() []Endpoint {
	var list []Endpoint
	for _, e := range s.routes.endpoints {
		one := Endpoint{Template: e.template}
		for name, h := range map[string]handlerFunc{"GET": e.get, "POST": e.post, "DELETE": e.del} {
			if h != nil {
				one.Methods = append(one.Methods, name)
			}
		}
		list = append(list, one)
	}
	return list
}

// NewSample returns what an answered request of one row does to be shown.
func NewSample(every int, show func(inputs [][]float32, row int)) func() {
	a := &act{s: &Server{o: Options{Observations: Observations{Every: every}}}}
	a.req.Rows = 1
	o := &versionObserver{observations: show}
	return func() { a.sample(o) }
}

// DescribeAgain makes the description of the API unless it was made.
func (s *Server) DescribeAgain() {
	if _, err := s.descriptionNow(); err != nil {
		panic(err)
	}
}
