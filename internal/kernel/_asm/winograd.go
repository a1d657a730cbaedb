package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The points of F(4, 3) are 0, ±winogradA, ±2·winogradA and infinity, as in the
// Go twin, and all constants are exact.
const winogradA = 0.75

// winograd generates the transforms of Winograd's convolution, one dimension
// at a time: each is a few sums of lines, the same for every channel.
//
// Registers: up to 6 constants, 6 inputs and 3 for what becomes of them; each
// result is written as soon as it is there.
func winograd() {
	const a, b = winogradA, 2 * winogradA
	lines("winograd2InAVX2", "winograd2In", 4, 4, nil, func(x []Mem, _ []reg.VecVirtual, store func(int, reg.VecVirtual)) {
		x1, x2 := loaded(x[1]), loaded(x[2])
		store(0, sub(loaded(x[0]), x2))
		store(1, add(x1, x2))
		store(2, sub(x2, x1))
		store(3, sub(x1, loaded(x[3])))
	})
	lines("winograd2OutAVX2", "winograd2Out", 4, 2, constants("winogradzero", 0), func(m []Mem, c []reg.VecVirtual, store func(int, reg.VecVirtual)) {
		m1, m2 := loaded(m[1]), loaded(m[2])
		store(0, finite(add(loaded(m[0]), add(m1, m2)), c[0]))
		store(1, finite(sub(sub(m1, m2), loaded(m[3])), c[0]))
	})
	in := constants("winogradin", a, b, a*a, b*b, a*a*b*b, a*a+b*b)
	lines("winograd4InAVX2", "winograd4In", 6, 6, in, func(x []Mem, c []reg.VecVirtual, store func(int, reg.VecVirtual)) {
		x1, x2, x3, x4 := loaded(x[1]), loaded(x[2]), loaded(x[3]), loaded(x[4])
		for i := range 2 { // the points ±a and ±b
			point, square := c[i], c[3-i]
			plus, odd := copied(x4), copied(x3)
			VFNMADD231PS(square, x2, plus)
			VFNMADD231PS(square, x1, odd)
			minus := copied(plus)
			VFMADD231PS(point, odd, plus)
			VFNMADD231PS(point, odd, minus)
			store(1+2*i, plus)
			store(2+2*i, minus)
		}
		VFNMADD231PS(c[5], x2, x4)
		VFMADD231PS(x[0], c[4], x4)
		store(0, x4)
		x5 := loaded(x[5])
		VFNMADD231PS(c[5], x3, x5)
		VFMADD231PS(x1, c[4], x5)
		store(5, x5)
	})
	out := constants("winogradout", a, b, a*a, b*b, a*a*a, b*b*b, 0)
	lines("winograd4OutAVX2", "winograd4Out", 6, 4, out, func(m []Mem, c []reg.VecVirtual, store func(int, reg.VecVirtual)) {
		m1, m2, m3, m4 := loaded(m[1]), loaded(m[2]), loaded(m[3]), loaded(m[4])
		p, q, r, s := add(m1, m2), sub(m1, m2), add(m3, m4), sub(m3, m4)
		store(0, finite(add(add(loaded(m[0]), p), r), c[6]))
		y := YMM()
		VMULPS(c[0], q, y)
		VFMADD231PS(c[1], s, y)
		store(1, finite(y, c[6]))
		VMULPS(c[2], p, p)
		VFMADD231PS(c[3], r, p)
		store(2, finite(p, c[6]))
		y3 := loaded(m[5])
		VFMADD231PS(c[4], q, y3)
		VFMADD231PS(c[5], s, y3)
		store(3, finite(y3, c[6]))
	})
}

// finite makes NaN of what is infinite: y + 0·y.
func finite(y, zero reg.VecVirtual) reg.VecVirtual {
	VFMADD231PS(zero, y, y)
	return y
}

func constants(name string, values ...float32) []Mem {
	var c []Mem
	for i, v := range values {
		c = append(c, splat(label("%s%d", name, i), v))
	}
	return c
}

func loaded(m Mem) reg.VecVirtual {
	y := YMM()
	VMOVUPS(m, y)
	return y
}

func add(a, b reg.VecVirtual) reg.VecVirtual {
	y := YMM()
	VADDPS(b, a, y)
	return y
}

func sub(a, b reg.VecVirtual) reg.VecVirtual {
	y := YMM()
	VSUBPS(b, a, y)
	return y
}

func copied(a reg.VecVirtual) reg.VecVirtual {
	y := YMM()
	VMOVAPS(a, y)
	return y
}

// lines: y[i·ldy+p] = transform(x[k·ldx+p] for all k)[i] for n positions p,
// count times, with gaps between the end of one and the start of the next.
func lines(name, twin string, in, out int, constants []Mem, transform func(x []Mem, c []reg.VecVirtual, store func(int, reg.VecVirtual))) {
	TEXT(name, NOSPLIT, "func(y []float32, ldy int, x []float32, ldx, n, count, gapY, gapX int)")
	Pragma("noescape")
	Doc(name+" is the vector form of "+twin+". ldy, ldx and the gaps are in bytes;",
		"n is a positive multiple of 8 and count positive.")
	y := Load(Param("y").Base(), GP64())
	x := Load(Param("x").Base(), GP64())
	count := Load(Param("count"), GP64())
	atX, atY := strided("ldx", x, in), strided("ldy", y, out)
	left, gap := GP64(), GP64()
	var c []reg.VecVirtual
	for _, m := range constants {
		c = append(c, loaded(m))
	}
	Label("line")
	Load(Param("n"), left)
	Label("loop")
	transform(atX, c, func(i int, v reg.VecVirtual) { VMOVUPS(v, atY[i]) })
	ADDQ(Imm(32), x)
	ADDQ(Imm(32), y)
	SUBQ(Imm(8), left)
	JNE(LabelRef("loop"))
	Load(Param("gapX"), gap)
	ADDQ(gap, x)
	Load(Param("gapY"), gap)
	ADDQ(gap, y)
	SUBQ(Imm(1), count)
	JNE(LabelRef("line"))
	VZEROUPPER()
	RET()
}

// strided returns n addresses, as far apart as the parameter tells.
func strided(param string, base reg.Register, n int) []Mem {
	ld := Load(Param(param), GP64())
	at := []Mem{
		{Base: base},
		{Base: base, Index: ld, Scale: 1},
		{Base: base, Index: ld, Scale: 2},
		{},
		{Base: base, Index: ld, Scale: 4},
		{},
	}[:n]
	if n > 3 {
		ld3 := GP64()
		LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
		at[3] = Mem{Base: base, Index: ld3, Scale: 1}
	}
	if n > 5 {
		ld5 := GP64()
		LEAQ(Mem{Base: ld, Index: ld, Scale: 4}, ld5)
		at[5] = Mem{Base: base, Index: ld5, Scale: 1}
	}
	return at
}
