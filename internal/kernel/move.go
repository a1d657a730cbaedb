package kernel

// Axis is one dimension of a move: how many steps it has, and how far each
// goes in the destination and in the source.
type Axis struct{ N, Dst, Src int }

// Move copies elements along axes, the last of which is the innermost: a
// transposition, a slice, a concatenation or a broadcast, by their strides.
func Move(dst, src []float32, axes []Axis) {
	for _, a := range axes {
		if a.N == 0 {
			return
		}
	}
	if len(axes) == 0 {
		dst[0] = src[0]
		return
	}
	moveAxes(dst, src, axes)
}

func moveAxes(dst, src []float32, axes []Axis) {
	a := axes[0]
	if len(axes) == 1 {
		moveLine(dst, src, a)
		return
	}
	if inner := axes[1]; len(axes) == 2 && inner.Dst == 1 && inner.Src > 1 {
		for i := range a.N {
			moveApart(dst[i*a.Dst:][:inner.N], src[i*a.Src:], inner.Src)
		}
		return
	}
	for i := range a.N {
		moveAxes(dst[i*a.Dst:], src[i*a.Src:], axes[1:])
	}
}

func moveLine(dst, src []float32, a Axis) {
	switch {
	case a.Dst == 1 && a.Src == 1:
		copy(dst[:a.N], src[:a.N])
	case a.Dst == 1 && a.Src == 0:
		v := src[0]
		for i := range dst[:a.N] {
			dst[i] = v
		}
	case a.Dst == 1 && a.Src > 1:
		moveApart(dst[:a.N], src, a.Src)
	default:
		for i := range a.N {
			dst[i*a.Dst] = src[i*a.Src]
		}
	}
}

// moveApart brings elements together that lie by apart, four at a time.
func moveApart(dst, src []float32, by int) {
	for len(dst) >= 4 {
		s := src[: 3*by+1 : 3*by+1]
		dst[0], dst[1], dst[2], dst[3] = s[0], s[by], s[2*by], s[3*by]
		if dst = dst[4:]; len(dst) == 0 {
			return
		}
		src = src[4*by:]
	}
	for i := range dst {
		dst[i] = src[i*by]
	}
}
