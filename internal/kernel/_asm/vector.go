package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type vecList = []reg.VecVirtual

// Constants of the exponential family, each as a memory operand. ln 2 is split
// so that n times its upper part is exact. The polynomial interpolates
// (expm1(r)-r)/r² at the Chebyshev nodes of |r| <= ln2/2: with coefficients
// rounded to float32 its relative error is 1.8e-9, 0.03 of the last place.
// The NEON kernels have the same constants and the same order of roundings.
var (
	cLog2e, cLn2Hi, cLn2Lo Mem
	cP                     [6]Mem
	cOne, cTwo, cMinusTwo  Mem
	cSign, cAbs            Mem
	cTanhMin, cExpMin      Mem
	cExpMax, cExpm1Min     Mem
)

// vector generates the elementwise kernels: 32 elements a turn in four
// registers, so that four dependent chains overlap, then 8, then a tail under
// a mask.
func vector() {
	vectorConstants()
	mask := tailMask()

	unary("relu", mask, nil, func(v vecList, _ vecList) {
		zero := YMM()
		VXORPS(zero, zero, zero)
		for _, v := range v {
			VMAXPS(v, zero, v)
		}
	})
	unary("clamp", mask, []string{"lo", "hi"}, func(v vecList, c vecList) { clamp(v, c) })
	unary("tanh", mask, nil, func(v vecList, _ vecList) { tanh(v) })
	unary("exp", mask, nil, func(v vecList, _ vecList) { exp(v) })
	unary("sigmoid", mask, nil, func(v vecList, _ vecList) { sigmoid(v) })
	unary("silu", mask, nil, func(v vecList, _ vecList) { silu(v) })
	unary("elu", mask, []string{"scale", "neg", "inner"}, func(v vecList, c vecList) { elu(v, c) })
	binary("add", mask, func(a, b, d reg.VecVirtual) { VADDPS(b, a, d) })
	binary("sub", mask, func(a, b, d reg.VecVirtual) { VSUBPS(b, a, d) })
	binary("mul", mask, func(a, b, d reg.VecVirtual) { VMULPS(b, a, d) })
	binary("div", mask, func(a, b, d reg.VecVirtual) { VDIVPS(b, a, d) })
}

// vectorConstants declares what the kernels share.
func vectorConstants() {
	cLog2e = splat("clog2e", 1.4426950408889634)
	cLn2Hi = splat("cln2hi", 0.693145751953125)
	cLn2Lo = splat("cln2lo", 1.42860682030941723212e-6)
	for i, v := range []float32{5.000000014e-01, 1.666666668e-01, 4.166646420e-02, 8.333310845e-03, 1.393373072e-03, 1.989108046e-04} {
		cP[i] = splat(label("cp%d", i), v)
	}
	cOne, cTwo, cMinusTwo = splat("cone", 1), splat("ctwo", 2), splat("cminustwo", -2)
	cSign, cAbs = splatBits("csign", 0x80000000), splatBits("cabs", 0x7fffffff)
	cTanhMin, cExpMin, cExpMax, cExpm1Min = splat("ctanhmin", -40), splat("cexpmin", -104), splat("cexpmax", 89), splat("cexpm1min", -40)
}

// clamp brings v between c[0] and c[1] and keeps NaN.
func clamp(v, c vecList) {
	for _, v := range v {
		VMAXPS(v, c[0], v)
		VMINPS(v, c[1], v)
	}
}

// sigmoid replaces v by 1/(1+exp(-v)).
func sigmoid(v vecList) {
	for i := range v {
		VXORPS(cSign, v[i], v[i])
	}
	exp(v)
	t := make(vecList, len(v))
	for i := range v {
		t[i] = YMM()
		VADDPS(cOne, v[i], v[i])
		VMOVUPS(cOne, t[i])
	}
	for i := range v {
		VDIVPS(v[i], t[i], v[i])
	}
}

// silu replaces v by v/(1+exp(-v)).
func silu(v vecList) {
	t := make(vecList, len(v))
	for i := range v {
		t[i] = YMM()
		VXORPS(cSign, v[i], t[i])
	}
	exp(t)
	for i := range v {
		VADDPS(cOne, t[i], t[i])
	}
	for i := range v {
		VDIVPS(t[i], v[i], v[i])
	}
}

// elu replaces v by c[0]·v above zero and by c[1]·expm1(c[2]·v) elsewhere.
func elu(v, c vecList) {
	e, m := make(vecList, len(v)), make(vecList, len(v))
	zero := YMM()
	VXORPS(zero, zero, zero)
	for i := range v {
		e[i] = YMM()
		VMULPS(c[2], v[i], e[i])
		VMINPS(e[i], zero, e[i])
	}
	lowerBound(e, cExpm1Min)
	expm1(e)
	for i := range v {
		m[i] = YMM()
		VMULPS(c[1], e[i], e[i])
		VCMPPS(Imm(0x1e), zero, v[i], m[i]) // v > 0, false for NaN, quiet
		VMULPS(c[0], v[i], v[i])
		VBLENDVPS(m[i], v[i], e[i], v[i])
	}
}

// tanh replaces v by its hyperbolic tangent.
func tanh(v vecList) {
	e, t := make(vecList, len(v)), make(vecList, len(v))
	for i := range v {
		e[i], t[i] = YMM(), YMM()
		VANDPS(cAbs, v[i], e[i])
	}
	for i := range v {
		VMULPS(cMinusTwo, e[i], e[i])
	}
	lowerBound(e, cTanhMin)
	expm1(e)
	for i := range v {
		VADDPS(cTwo, e[i], t[i])
	}
	for i := range v {
		VDIVPS(t[i], e[i], e[i])
	}
	// e is -tanh|x|, whose sign bit is flipped and then replaced by that
	// of x; a NaN keeps being one.
	for i := range v {
		VANDPS(cAbs, e[i], e[i])
		VANDPS(cSign, v[i], v[i])
		VORPS(e[i], v[i], v[i])
	}
}

// lowerBound raises v to at least c and keeps NaN.
func lowerBound(v vecList, c Mem) {
	t := YMM()
	VMOVUPS(c, t)
	for i := range v {
		VMAXPS(v[i], t, v[i])
	}
}

// reduce splits v into n·ln2 + r, |r| <= ln2/2: v becomes r, n stays a float.
func reduce(v vecList) vecList {
	n := make(vecList, len(v))
	for i := range v {
		n[i] = YMM()
		VMULPS(cLog2e, v[i], n[i])
	}
	for i := range v {
		VROUNDPS(Imm(0), n[i], n[i])
	}
	for i := range v {
		VFNMADD231PS(cLn2Hi, n[i], v[i])
	}
	for i := range v {
		VFNMADD231PS(cLn2Lo, n[i], v[i])
	}
	return n
}

// poly replaces r by expm1(r) = r + r²·p(r).
func poly(r vecList) {
	q := make(vecList, len(r))
	for i := range r {
		q[i] = YMM()
		VMOVUPS(cP[5], q[i])
	}
	for c := 4; c >= 0; c-- {
		for i := range r {
			VFMADD213PS(cP[c], r[i], q[i])
		}
	}
	for i := range r {
		VMULPS(r[i], q[i], q[i])
	}
	for i := range r {
		VFMADD231PS(q[i], r[i], r[i])
	}
}

// expm1 replaces v in [-40, 0] by expm1(v) = 2ⁿ·expm1(r) + (2ⁿ - 1).
func expm1(v vecList) {
	n := reduce(v)
	for i := range v {
		VCVTPS2DQ(n[i], n[i])
	}
	for i := range v {
		VPSLLD(Imm(23), n[i], n[i])
	}
	for i := range v {
		VPADDD(cOne, n[i], n[i]) // the bits of 1 are the bias of the exponent
	}
	poly(v)
	for i := range v {
		VMULPS(n[i], v[i], v[i])
		VSUBPS(cOne, n[i], n[i])
	}
	for i := range v {
		VADDPS(n[i], v[i], v[i])
	}
}

// exp replaces v by exp(v) over the whole range, denormal results included:
// 2ⁿ is applied in two halves, since n goes from -150 to 128.
func exp(v vecList) {
	lowerBound(v, cExpMin)
	hi := YMM()
	VMOVUPS(cExpMax, hi)
	for i := range v {
		VMINPS(v[i], hi, v[i])
	}
	n := reduce(v)
	for i := range v {
		VCVTPS2DQ(n[i], n[i])
	}
	poly(v)
	for i := range v {
		VADDPS(cOne, v[i], v[i])
	}
	for i := range v {
		half := YMM()
		VPSRAD(Imm(1), n[i], half)
		VPSUBD(half, n[i], n[i])
		VPSLLD(Imm(23), half, half)
		VPADDD(cOne, half, half)
		VMULPS(half, v[i], v[i])
		VPSLLD(Imm(23), n[i], n[i])
		VPADDD(cOne, n[i], n[i])
		VMULPS(n[i], v[i], v[i])
	}
}

// unary generates y[i] = f(x[i]); consts are scalar parameters broadcast once.
func unary(name string, mask Mem, consts []string, f func(v, c vecList)) {
	if len(consts) == 3 { // three constants and zero take registers
		unaryOf(name, mask, consts, []int{2, 1}, f)
		return
	}
	unaryOf(name, mask, consts, []int{4, 1}, f)
}

// unaryOf is unary with the given numbers of registers a turn.
func unaryOf(name string, mask Mem, consts []string, turns []int, f func(v, c vecList)) {
	sig := "func(y, x []float32"
	for _, c := range consts {
		sig += ", " + c + " float32"
	}
	TEXT(name+"AVX2", NOSPLIT, sig+")")
	Pragma("noescape")
	Doc(name + "AVX2 is " + name + "Generic. len(y) >= len(x); y may be x.")
	y := Load(Param("y").Base(), GP64())
	x := Load(Param("x").Base(), GP64())
	n := Load(Param("x").Len(), GP64())
	var c vecList
	for _, name := range consts {
		v := YMM()
		m, err := Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		VBROADCASTSS(m.Addr, v)
		c = append(c, v)
	}
	for _, regs := range turns {
		loop, done := label("l%d", regs), label("d%d", regs)
		Label(loop)
		CMPQ(n, Imm(uint64(8*regs)))
		JLT(LabelRef(done))
		v := vecs(regs)
		for i := range v {
			VMOVUPS(Mem{Base: x, Disp: 32 * i}, v[i])
		}
		f(v, c)
		for i := range v {
			VMOVUPS(v[i], Mem{Base: y, Disp: 32 * i})
		}
		ADDQ(U32(uint32(32*regs)), x)
		ADDQ(U32(uint32(32*regs)), y)
		SUBQ(Imm(uint64(8*regs)), n)
		JMP(LabelRef(loop))
		Label(done)
	}
	TESTQ(n, n)
	JZ(LabelRef("end"))
	m, v := YMM(), vecs(1)
	maskFor(mask, n, m)
	VMASKMOVPS(Mem{Base: x}, m, v[0])
	f(v, c)
	storeTail("tail", Mem{Base: y}, v[0], n, GP64())
	Label("end")
	VZEROUPPER()
	RET()
}

// binary generates y[i] = f(a[i], b[i]).
func binary(name string, mask Mem, f func(a, b, d reg.VecVirtual)) {
	TEXT(name+"AVX2", NOSPLIT, "func(y, a, b []float32)")
	Pragma("noescape")
	Doc(name + "AVX2 is " + name + "Generic. y and b are at least as long as a; y may be either.")
	y := Load(Param("y").Base(), GP64())
	a := Load(Param("a").Base(), GP64())
	b := Load(Param("b").Base(), GP64())
	n := Load(Param("a").Len(), GP64())
	for _, regs := range []int{4, 1} {
		loop, done := label("l%d", regs), label("d%d", regs)
		Label(loop)
		CMPQ(n, Imm(uint64(8*regs)))
		JLT(LabelRef(done))
		va, vb := vecs(regs), vecs(regs)
		for i := range va {
			VMOVUPS(Mem{Base: a, Disp: 32 * i}, va[i])
			VMOVUPS(Mem{Base: b, Disp: 32 * i}, vb[i])
			f(va[i], vb[i], va[i])
		}
		for i := range va {
			VMOVUPS(va[i], Mem{Base: y, Disp: 32 * i})
		}
		ADDQ(U32(uint32(32*regs)), a)
		ADDQ(U32(uint32(32*regs)), b)
		ADDQ(U32(uint32(32*regs)), y)
		SUBQ(Imm(uint64(8*regs)), n)
		JMP(LabelRef(loop))
		Label(done)
	}
	TESTQ(n, n)
	JZ(LabelRef("end"))
	m, va, vb := YMM(), YMM(), YMM()
	maskFor(mask, n, m)
	VMASKMOVPS(Mem{Base: a}, m, va)
	VMASKMOVPS(Mem{Base: b}, m, vb)
	f(va, vb, va)
	storeTail("tail", Mem{Base: y}, va, n, GP64())
	Label("end")
	VZEROUPPER()
	RET()
}

// maskFor sets m to the mask of the first n lanes, n in 1..7.
func maskFor(mask Mem, n reg.Register, m reg.VecVirtual) {
	table, off := GP64(), GP64()
	LEAQ(mask, table)
	MOVQ(U32(8), off)
	SUBQ(n, off)
	VMOVUPS(Mem{Base: table, Index: off, Scale: 4}, m)
}
