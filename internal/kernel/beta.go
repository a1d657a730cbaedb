package kernel

import "math"

// maxBetaTurns is that of the reference.
const maxBetaTurns = 64

// Beta fills y, one row of a value, with draws of the Beta distribution with the
// concentrations alpha and beta of the same length. They are those of the
// reference evaluator (graph.Beta), which says how they are made. Here the keys
// of the turns, which all elements share, are computed once.
func Beta(y, alpha, beta []float32, key [2]uint32, stream uint32, row uint64) {
	alpha, beta = alpha[:len(y)], beta[:len(y)]
	turns := betaTurns{key: key, stream: stream, row: [2]uint32{uint32(row), uint32(row >> 32)}}
	for i := range y {
		a, b := float64(alpha[i]), float64(beta[i])
		if !(a > 0 && b > 0 && a <= math.MaxFloat64 && b <= math.MaxFloat64) {
			y[i] = float32(math.NaN())
			continue
		}
		g := turns.logGamma(uint32(2*i), a)
		h := turns.logGamma(uint32(2*i+1), b)
		const least, most = 0x1p-126, 1 - 0x1p-24
		y[i] = float32(min(max(1/(1+exp(h-g)), least), most))
	}
}

// betaTurns are the keys of the turns that some draw of the row needed so far.
type betaTurns struct {
	key    [2]uint32
	stream uint32
	row    [2]uint32
	known  int
	keys   [4][2]uint32 // more than four are needed by one draw in 1e5
}

func (t *betaTurns) at(turn int) [2]uint32 {
	if turn >= len(t.keys) {
		return betaTurn(turn, t.key)
	}
	for t.known <= turn {
		t.keys[t.known] = betaTurn(t.known, t.key)
		t.known++
	}
	return t.keys[turn]
}

func betaTurn(turn int, key [2]uint32) [2]uint32 {
	w := philox([4]uint32{uint32(turn), 0, 0x62657461, 0}, key)
	return [2]uint32{w[0], w[1]}
}

// logGamma is the logarithm of a gamma draw by Marsaglia and Tsang.
func (t *betaTurns) logGamma(counter uint32, a float64) float64 {
	d := a - 1.0/3
	if a < 1 {
		d = a + 1 - 1.0/3
	}
	c := 1 / math.Sqrt(9*d)
	var logV float64
	for turn := range maxBetaTurns {
		w := philox([4]uint32{counter, t.stream, t.row[0], t.row[1]}, t.at(turn))
		cos, _ := boxMuller(w[0], w[1])
		x := float64(cos)
		root := 1 + float64(c*x)
		if root <= 0 {
			continue
		}
		v := float64(root * root * root)
		logV = float64(3 * log(root))
		if -negLog(w[2]) < float64(float64(x*x)/2)+d-float64(d*v)+float64(d*logV) {
			if a < 1 {
				logV -= float64(negLog(w[3]) / a)
			}
			break
		}
	}
	return log(d) + logV
}

// log is the natural logarithm of a number above 0, in the order of the
// reference.
func log(y float64) float64 {
	m, e := math.Frexp(y)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	s := (m - 1) / (m + 1)
	q := float64(s * s)
	sum := 1.0 / 19
	for _, c := range atanhSeries {
		sum = float64(sum*q) + c
	}
	return float64(float64(e)*math.Ln2) + float64(2*s*sum)
}

// exp is e^y by the Taylor series, in the order of the reference.
func exp(y float64) float64 {
	switch {
	case y > 700:
		return math.Inf(1)
	case y < -700:
		return 0
	}
	k := math.RoundToEven(float64(y / math.Ln2))
	r := y - float64(k*math.Ln2)
	sum := 1.0
	for i := 14; i >= 1; i-- {
		sum = 1 + float64(float64(sum*r)/float64(i))
	}
	return math.Ldexp(sum, int(k))
}
