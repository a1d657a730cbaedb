package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func splat64(name string, bits uint64) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 4 {
		DATA(8*i, U64(bits))
	}
	return m
}

// pow: exp(b·log(a)) for positive a, four at a time in float64, by the series
// of the twin in pairs. A number of at most 2^51 added to 2^52 has its integer
// in the low bits of the sum.
func pow() {
	const magic = 1<<52 + 1023
	f := func(name string, v float64) Mem { return splat64(name, math.Float64bits(v)) }
	one, ln2, log2e := f("pone", 1), f("pln2", math.Ln2), f("plog2e", math.Log2E)
	biased, low, high := f("pmagic", magic), f("plow", -110), f("phigh", 90)
	root := math.Float64bits(math.Sqrt2 / 2)
	sqrtHalf := splat64("psqrthalf", root-1023<<52) // wraps around
	bias, exponent := splat64("pbias", 1023<<52), splat64("pexponent", 0x4330000000000000)
	var cl, ce [7]Mem
	for i, d := range []float64{3, 5, 7, 9, 11, 13} {
		cl[i] = f(label("pl%d", i), 1/d)
	}
	for i, d := range []float64{2, 6, 24, 120, 720, 5040, 40320} {
		ce[i] = f(label("pe%d", i), 1/d)
	}
	last := f("pe7", 1.0/362880)

	TEXT("powAVX2", NOSPLIT, "func(y, a, b []float32)")
	Pragma("noescape")
	Doc("powAVX2 is powGeneric for positive a and finite b. len(a) is a multiple of",
		"four; y and b are as long.")
	y := Load(Param("y").Base(), GP64())
	a := Load(Param("a").Base(), GP64())
	b := Load(Param("b").Base(), GP64())
	n := Load(Param("a").Len(), GP64())
	Label("loop")
	SUBQ(Imm(4), n)
	JLT(LabelRef("end"))
	x, e, s, z, q, p, t := YMM(), YMM(), YMM(), YMM(), YMM(), YMM(), YMM()
	// pair sets d to lo + v·hi.
	pair := func(lo, hi Mem, v, d reg.VecVirtual) {
		VMOVUPD(hi, d)
		VFMADD213PD(lo, v, d)
	}
	VCVTPS2PD(Mem{Base: a}, x)
	VPSUBQ(sqrtHalf, x, e)
	VPSRLQ(Imm(52), e, e)
	VPSLLQ(Imm(52), e, t)
	VPSUBQ(t, x, x)
	VPADDQ(bias, x, x)
	VPOR(exponent, e, e)
	VSUBPD(biased, e, e)
	VADDPD(one, x, t)
	VSUBPD(one, x, s)
	VDIVPD(t, s, s)
	VMULPD(s, s, z)
	VMULPD(z, z, q)
	pair(cl[3], cl[4], z, p)
	VFMADD231PD(cl[5], q, p)
	pair(cl[1], cl[2], z, t)
	VFMADD213PD(t, q, p)
	pair(one, cl[0], z, t)
	VFMADD213PD(t, q, p)
	VADDPD(s, s, s)
	VMULPD(s, p, p)
	VFMADD231PD(ln2, e, p)
	VCVTPS2PD(Mem{Base: b}, t)
	VMULPD(t, p, p)
	VMAXPD(low, p, p)
	VMINPD(high, p, p)
	VMULPD(log2e, p, e)
	VROUNDPD(Imm(8), e, e)
	VFNMADD231PD(ln2, e, p) // r
	VADDPD(biased, e, e)
	VPSLLQ(Imm(52), e, e)
	VMULPD(p, p, q)
	pair(ce[6], last, p, z)
	pair(ce[4], ce[5], p, t)
	VFMADD213PD(t, q, z)
	pair(ce[2], ce[3], p, t)
	VFMADD213PD(t, q, z)
	pair(ce[0], ce[1], p, t)
	VFMADD213PD(t, q, z)
	VADDPD(one, p, p)
	VFMADD213PD(p, q, z)
	VMULPD(e, z, z)
	VCVTPD2PSY(z, z.AsX())
	VMOVUPS(z.AsX(), Mem{Base: y})
	ADDQ(Imm(16), a)
	ADDQ(Imm(16), b)
	ADDQ(Imm(16), y)
	JMP(LabelRef("loop"))
	Label("end")
	VZEROUPPER()
	RET()
}
