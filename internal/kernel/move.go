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
	switch len(axes) {
	case 0:
		dst[0] = src[0]
	case 1:
		moveLine(dst, src, axes[0])
	default:
		a := axes[0]
		for i := range a.N {
			Move(dst[i*a.Dst:], src[i*a.Src:], axes[1:])
		}
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
	default:
		for i := range a.N {
			dst[i*a.Dst] = src[i*a.Src]
		}
	}
}
