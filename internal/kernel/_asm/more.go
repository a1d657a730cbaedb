package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Constants of the kernels of this file. The polynomials were fitted by
// weighted least squares, iterated towards equal errors.
//
//	log1p(u) = 2s + 2s³·R(s²), s = u/(2+u), |s| <= 1/3: error 1e-10
//	erf(x) = x + x·E(x²), |x| <= 1: error 1.2e-9
//	erf(x) = 1 - exp(-G(x)), 1 <= x <= 4: error 1e-9
var (
	cR [5]Mem
	cE [7]Mem
	cG [7]Mem

	cHalf, cFour, cThree, cSix Mem
	cMantissa, cSqrtHalfBits   Mem
	cLeast, cDenormal, c23     Mem
	cInf, cMinusInf, cNaN      Mem
	cRootHalf, cRootTwoOverPi  Mem
	cCube, cMishMax            Mem
)

// more generates the elementwise kernels that amd64 alone has.
func more() {
	vectorConstants()
	for i, v := range []float32{0.33333338, 0.19999439, 0.14308442, 0.10713828, 0.12150469} {
		cR[i] = splat(label("cr%d", i), v)
	}
	for i, v := range []float32{0.12837916591375115, -0.3761262713596524, 0.11283600176253342, -0.02685444459178651, 0.005189535339151342, -0.0008020841278286655, 7.889119527236157e-05} {
		cE[i] = splat(label("ce%d", i), v)
	}
	for i, v := range []float32{0.0003537089273528693, 1.1270400799846598, 0.6382256023546038, 0.10303743553282696, -0.021805351163543683, 0.002939615737759478, -0.00018557489344656555} {
		cG[i] = splat(label("cg%d", i), v)
	}
	cHalf, cFour, cThree, cSix = splat("chalf", 0.5), splat("cfour", 4), splat("cthree", 3), splat("csix", 6)
	cMantissa, cSqrtHalfBits = splatBits("cmantissa", 0x7fffff), splatBits("csqrthalf", 0x3f3504f3)
	cLeast, cDenormal, c23 = splatBits("cleast", 0x00800000), splat("cdenormal", 1<<23), splat("c23", 23)
	cInf, cMinusInf, cNaN = splatBits("cinf", 0x7f800000), splatBits("cminusinf", 0xff800000), splatBits("cnan", 0x7fc00000)
	cRootHalf, cRootTwoOverPi = splat("croothalf", 0.70710678118654752440), splat("croottwooverpi", 0.79788456080286535588)
	cCube, cMishMax = splat("ccube", 0.044715), splat("cmishmax", 20)
	mask := tailMask()

	simple := func(name string, consts []string, f func(v reg.VecVirtual, c vecList)) {
		unaryOf(name, mask, consts, []int{4, 1}, func(v, c vecList) {
			for _, v := range v {
				f(v, c)
			}
		})
	}
	simple("sqrt", nil, func(v reg.VecVirtual, _ vecList) { VSQRTPS(v, v) })
	simple("reciprocal", nil, func(v reg.VecVirtual, _ vecList) {
		one := YMM()
		VMOVUPS(cOne, one)
		VDIVPS(v, one, v)
	})
	simple("rsqrt", nil, func(v reg.VecVirtual, _ vecList) {
		one := YMM()
		VSQRTPS(v, v)
		VMOVUPS(cOne, one)
		VDIVPS(v, one, v)
	})
	simple("abs", nil, func(v reg.VecVirtual, _ vecList) { VANDPS(cAbs, v, v) })
	simple("neg", nil, func(v reg.VecVirtual, _ vecList) { VXORPS(cSign, v, v) })
	for i, name := range []string{"round", "floor", "ceil", "trunc"} {
		simple(name, nil, func(v reg.VecVirtual, _ vecList) { VROUNDPS(Imm(uint64(8+i)), v, v) })
	}
	simple("leakyRelu", []string{"slope"}, func(v reg.VecVirtual, c vecList) {
		t := YMM()
		VMULPS(c[0], v, t)
		VBLENDVPS(v, t, v, v) // by the sign of v
	})
	simple("softsign", nil, func(v reg.VecVirtual, _ vecList) {
		t := YMM()
		VANDPS(cAbs, v, t)
		VADDPS(cOne, t, t)
		VDIVPS(t, v, v)
	})
	simple("hardsigmoid", nil, func(v reg.VecVirtual, _ vecList) { hardsigmoid(v, v) })
	simple("hardswish", nil, func(v reg.VecVirtual, _ vecList) {
		t := YMM()
		hardsigmoid(v, t)
		VMULPS(t, v, v)
	})
	// scale: x·factor + shift, one rounding.
	simple("scale", []string{"factor", "shift"}, func(v reg.VecVirtual, c vecList) { VFMADD213PS(c[1], c[0], v) })

	heavy := func(name string, consts []string, f func(v, c vecList)) { unaryOf(name, mask, consts, []int{2, 1}, f) }
	heavy("erf", nil, func(v, _ vecList) { erf(v) })
	heavy("gelu", nil, func(v, _ vecList) {
		t := make(vecList, len(v))
		for i := range v {
			t[i] = YMM()
			VMULPS(cRootHalf, v[i], t[i])
		}
		erf(t)
		for i := range v {
			VADDPS(cOne, t[i], t[i])
			VMULPS(cHalf, v[i], v[i])
			VMULPS(t[i], v[i], v[i])
		}
	})
	heavy("geluTanh", nil, func(v, _ vecList) {
		t := make(vecList, len(v))
		for i := range v {
			t[i] = YMM()
			VMULPS(v[i], v[i], t[i])
			VMULPS(cCube, t[i], t[i])
			VFMADD213PS(v[i], v[i], t[i])
			VMULPS(cRootTwoOverPi, t[i], t[i])
		}
		tanh(t)
		for i := range v {
			VADDPS(cOne, t[i], t[i])
			VMULPS(cHalf, v[i], v[i])
			VMULPS(t[i], v[i], v[i])
		}
	})
	heavy("log", nil, func(v, _ vecList) { logarithm(v) })
	// softplus: max(z,0) + log1p(exp(-|z|)) for z = beta·x, over beta; x where
	// z is above the threshold.
	heavy("softplus", []string{"beta", "inverse", "threshold"}, func(v, c vecList) {
		e := make(vecList, len(v))
		for i := range v {
			e[i] = YMM()
			VMULPS(c[0], v[i], e[i])
		}
		log1pExp(e)
		for i := range v {
			z, zero, above := YMM(), YMM(), YMM()
			VXORPS(zero, zero, zero)
			VMULPS(c[0], v[i], z)
			VMAXPS(z, zero, zero)
			VADDPS(zero, e[i], e[i])
			VMULPS(c[1], e[i], e[i])
			VCMPPS(Imm(0x1e), c[2], z, above)
			VBLENDVPS(above, v[i], e[i], v[i])
		}
	})
	heavy("logSigmoid", nil, func(v, _ vecList) {
		e := make(vecList, len(v))
		for i := range v {
			e[i] = YMM()
			VMOVAPS(v[i], e[i])
		}
		log1pExp(e)
		for i := range v {
			zero := YMM()
			VXORPS(zero, zero, zero)
			VMINPS(v[i], zero, v[i])
			VSUBPS(e[i], v[i], v[i])
		}
	})
	// mish: tanh(log(1+e)) = n/(n+2) for n = e(e+2), e = exp(x); x itself
	// above 20.
	heavy("mish", nil, func(v, _ vecList) {
		e := make(vecList, len(v))
		for i := range v {
			top := YMM()
			e[i] = YMM()
			VMOVUPS(cMishMax, top)
			VMINPS(v[i], top, e[i]) // NaN stays
		}
		exp(e)
		for i := range v {
			t, above := YMM(), YMM()
			VADDPS(cTwo, e[i], t)
			VMULPS(e[i], t, e[i])
			VADDPS(cTwo, e[i], t)
			VDIVPS(t, e[i], e[i])
			VMULPS(v[i], e[i], e[i])
			VMOVUPS(cMishMax, t)
			VCMPPS(Imm(0x1e), t, v[i], above)
			VBLENDVPS(above, v[i], e[i], v[i])
		}
	})
	// expSub: exp(x - top), as softmax needs it.
	heavy("expSub", []string{"top"}, func(v, c vecList) {
		for i := range v {
			VSUBPS(c[0], v[i], v[i])
		}
		exp(v)
	})
	// The instructions give their second source where either is NaN; a NaN of
	// the first is put back.
	for _, op := range []struct {
		name string
		f    func(a, b, d reg.VecVirtual)
	}{
		{"minimum", func(a, b, d reg.VecVirtual) { VMINPS(b, a, d) }},
		{"maximum", func(a, b, d reg.VecVirtual) { VMAXPS(b, a, d) }},
	} {
		binary(op.name, mask, func(a, b, d reg.VecVirtual) {
			odd, t := YMM(), YMM()
			VCMPPS(Imm(3), a, a, odd) // unordered
			op.f(a, b, t)
			VBLENDVPS(odd, a, t, d)
		})
	}
	trigonometry(mask)
	reductions(mask)
	pow()
}

// hardsigmoid: min(max(x+3, 0), 6)/6.
func hardsigmoid(v, d reg.VecVirtual) {
	t := YMM()
	VADDPS(cThree, v, d)
	VXORPS(t, t, t)
	VMAXPS(d, t, d)
	VMOVUPS(cSix, t)
	VMINPS(d, t, d)
	VDIVPS(t, d, d)
}

// horner replaces v by c[0] + v·c[1] + ..., in t.
func horner(c []Mem, v vecList) vecList {
	t := make(vecList, len(v))
	for i := range v {
		t[i] = YMM()
		VMOVUPS(c[len(c)-1], t[i])
	}
	for k := len(c) - 2; k >= 0; k-- {
		for i := range v {
			VFMADD213PS(c[k], v[i], t[i])
		}
	}
	return t
}

// erf replaces v by erf(v): below 1 by the series, else by the exponential.
func erf(v vecList) {
	a := make(vecList, len(v))
	for i := range v {
		four := YMM()
		a[i] = YMM()
		VANDPS(cAbs, v[i], a[i])
		VMOVUPS(cFour, four)
		VMINPS(a[i], four, a[i]) // NaN stays
	}
	g := horner(cG[:], a)
	for i := range v {
		VXORPS(cSign, g[i], g[i])
	}
	expm1(g)
	for i := range v {
		t, sign := YMM(), YMM()
		VMULPS(a[i], a[i], t)
		e := horner(cE[:], vecList{t})
		VFMADD213PS(a[i], a[i], e[0])
		VXORPS(cSign, g[i], g[i])
		one := YMM()
		VMOVUPS(cOne, one)
		VCMPPS(Imm(0x1e), one, a[i], one) // above 1
		VBLENDVPS(one, g[i], e[0], g[i])
		VMOVUPS(cSign, sign)
		VANDPS(sign, v[i], v[i])
		VORPS(g[i], v[i], v[i])
	}
}

// atanhSeries replaces v by 2v + 2v³·R(v²).
func atanhSeries(v vecList) {
	z := make(vecList, len(v))
	for i := range v {
		z[i] = YMM()
		VMULPS(v[i], v[i], z[i])
	}
	r := horner(cR[:], z)
	for i := range v {
		VADDPS(v[i], v[i], v[i])
		VMULPS(z[i], r[i], r[i])
		VFMADD231PS(r[i], v[i], v[i])
	}
}

// log1pExp replaces v by log1p(exp(-|v|)).
func log1pExp(v vecList) {
	for i := range v {
		VORPS(cSign, v[i], v[i])
	}
	exp(v)
	for i := range v {
		t := YMM()
		VADDPS(cTwo, v[i], t)
		VDIVPS(t, v[i], v[i])
	}
	atanhSeries(v)
}

// logarithm replaces v by its natural logarithm: v = m·2ⁿ with m from √½ to √2
// gives n·ln2 + log(m). Denormal numbers are scaled first; zero, infinity and
// what has no logarithm are put right at the end.
func logarithm(v vecList) {
	n, m := make(vecList, len(v)), make(vecList, len(v))
	for i := range v {
		small, scaled, t := YMM(), YMM(), YMM()
		n[i], m[i] = YMM(), YMM()
		VMOVUPS(cLeast, t)
		VCMPPS(Imm(0x11), t, v[i], small) // below, quiet
		VMULPS(cDenormal, v[i], scaled)
		VBLENDVPS(small, scaled, v[i], m[i])
		VANDPS(c23, small, small)
		// The bits above those of √½ count the powers of two.
		VPSUBD(cSqrtHalfBits, m[i], t)
		VPSRAD(Imm(23), t, n[i])
		VPSLLD(Imm(23), n[i], t)
		VPSUBD(t, m[i], m[i])
		VCVTDQ2PS(n[i], n[i])
		VSUBPS(small, n[i], n[i])
	}
	for i := range v {
		t := YMM()
		VADDPS(cOne, m[i], t)
		VSUBPS(cOne, m[i], m[i])
		VDIVPS(t, m[i], m[i])
	}
	atanhSeries(m)
	for i := range v {
		t, is := YMM(), YMM()
		VFMADD231PS(cLn2Lo, n[i], m[i])
		VFMADD231PS(cLn2Hi, n[i], m[i])
		VXORPS(t, t, t)
		VCMPPS(Imm(0x00), t, v[i], is) // 0
		VMOVUPS(cMinusInf, n[i])
		VBLENDVPS(is, n[i], m[i], m[i])
		VCMPPS(Imm(0x11), t, v[i], is) // below 0
		VMOVUPS(cNaN, n[i])
		VBLENDVPS(is, n[i], m[i], m[i])
		VMOVUPS(cInf, t)
		VCMPPS(Imm(0x04), t, v[i], is) // not infinity, NaN too
		VBLENDVPS(is, m[i], v[i], m[i])
		VCMPPS(Imm(0x03), v[i], v[i], is) // NaN
		VBLENDVPS(is, v[i], m[i], v[i])
	}
}

// reductions generates sums and extremes of one row.
func reductions(mask Mem) {
	// sum adds in sixteen lanes of float64: lane l takes the elements l mod 16.
	// They are added as ((l0+l4)+(l8+l12)) + ..., four sums pairwise at the end.
	TEXT("sumAVX2", NOSPLIT, "func(x []float32) float64")
	Pragma("noescape")
	Doc("sumAVX2 is sumGeneric.")
	x := Load(Param("x").Base(), GP64())
	n := Load(Param("x").Len(), GP64())
	acc := vecs(4)
	for i := range acc {
		VXORPD(acc[i], acc[i], acc[i])
	}
	Label("loop")
	SUBQ(Imm(16), n)
	JLT(LabelRef("tail"))
	for i := range acc {
		t := YMM()
		VCVTPS2PD(Mem{Base: x, Disp: 16 * i}, t)
		VADDPD(t, acc[i], acc[i])
	}
	ADDQ(Imm(64), x)
	JMP(LabelRef("loop"))
	Label("tail")
	ADDQ(Imm(16), n)
	// The last elements go through masks of eight, twice: zeros beside them.
	for half := range 2 {
		JZ(LabelRef("done"))
		rest, m, v := GP64(), YMM(), YMM()
		MOVQ(n, rest)
		whole := label("whole%d", half)
		CMPQ(rest, Imm(8))
		JLE(LabelRef(whole))
		MOVQ(U32(8), rest)
		Label(whole)
		maskFor(mask, rest, m)
		VMASKMOVPS(Mem{Base: x}, m, v)
		for i := range 2 {
			t := YMM()
			if i == 1 {
				VEXTRACTF128(Imm(1), v, v.AsX())
			}
			VCVTPS2PD(v.AsX(), t)
			VADDPD(t, acc[2*half+i], acc[2*half+i])
		}
		ADDQ(Imm(32), x)
		SUBQ(rest, n)
	}
	Label("done")
	VADDPD(acc[1], acc[0], acc[0])
	VADDPD(acc[3], acc[2], acc[2])
	VADDPD(acc[2], acc[0], acc[0])
	VEXTRACTF128(Imm(1), acc[0], acc[1].AsX())
	VADDPD(acc[1].AsX(), acc[0].AsX(), acc[0].AsX())
	VHADDPD(acc[0].AsX(), acc[0].AsX(), acc[0].AsX())
	Store(acc[0].AsX(), ReturnIndex(0))
	VZEROUPPER()
	RET()

	for _, op := range []struct {
		name string
		f    func(ops ...Op)
	}{
		{"amax", VMAXPS}, {"amin", VMINPS},
	} {
		TEXT(op.name+"AVX2", NOSPLIT, "func(x []float32) float32")
		Pragma("noescape")
		Doc(op.name + "AVX2 is " + op.name + "Generic. len(x) is 8 or more.")
		x := Load(Param("x").Base(), GP64())
		n := Load(Param("x").Len(), GP64())
		best, odd, t, u := YMM(), YMM(), YMM(), YMM()
		end := GP64()
		LEAQ(Mem{Base: x, Index: n, Scale: 4, Disp: -32}, end) // the last eight
		VMOVUPS(Mem{Base: x}, best)
		VXORPS(odd, odd, odd)
		Label("loop")
		CMPQ(x, end)
		JGE(LabelRef("last"))
		VMOVUPS(Mem{Base: x}, t)
		VCMPPS(Imm(3), t, t, u)
		VORPS(u, odd, odd)
		op.f(t, best, best)
		ADDQ(Imm(32), x)
		JMP(LabelRef("loop"))
		Label("last")
		VMOVUPS(Mem{Base: end}, t)
		VCMPPS(Imm(3), t, t, u)
		VORPS(u, odd, odd)
		op.f(t, best, best)
		VEXTRACTF128(Imm(1), best, t.AsX())
		op.f(t.AsX(), best.AsX(), best.AsX())
		VPERMILPS(Imm(0x4e), best.AsX(), t.AsX())
		op.f(t.AsX(), best.AsX(), best.AsX())
		VPERMILPS(Imm(0xb1), best.AsX(), t.AsX())
		op.f(t.AsX(), best.AsX(), best.AsX())
		bits := GP32()
		VMOVMSKPS(odd, bits)
		TESTL(bits, bits)
		JZ(LabelRef("number"))
		VMOVUPS(cNaN, best)
		Label("number")
		Store(best.AsX(), ReturnIndex(0))
		VZEROUPPER()
		RET()
	}
}
