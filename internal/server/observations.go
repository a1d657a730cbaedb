package server

// Observations is shown a sample of the observations that were answered, after
// the answer was made and on the goroutine of the request.
type Observations struct {
	// Every is of how many observations one is shown, on average, and of a request
	// of several rows no more than one; 0 shows none.
	Every int
	// Of returns what is shown the rows of a version: the values of each input,
	// as they came, and which row it is. Nil is shown none. What is returned must
	// neither block nor keep or change the values.
	Of func(t *Target) func(inputs [][]float32, row int)
}

func (o *Observations) of(t *Target) func(inputs [][]float32, row int) {
	if o.Every == 0 || o.Of == nil {
		return nil
	}
	return o.Of(t)
}

// spread makes of numbers that are close ones that are not: 2^32 over the golden
// ratio, as Knuth hashes (The Art of Computer Programming, 6.4).
const spread = 2654435769

// sample shows one of the rows of an act, where it is its turn, which is drawn:
// robots that take turns are all shown.
func (a *act) sample(o *versionObserver) {
	// Marsaglia's xorshift ("Xorshift RNGs", 2003), of each act its own: it takes
	// a nanosecond.
	x := a.dice
	if x == 0 {
		x = (a.shard + 1) * spread
	}
	x ^= x << 13
	x ^= x >> 17
	x ^= x << 5
	a.dice = x
	rows := a.req.Rows
	if int(uint64(x)*uint64(a.s.o.Observations.Every)>>32) >= rows {
		return
	}
	row := 0
	if rows > 1 {
		row = int(uint64(x*spread) * uint64(rows) >> 32)
	}
	o.observations(a.req.Inputs, row)
}
