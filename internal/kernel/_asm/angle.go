package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Constants of the functions of angles: sin(r) = r + r³·S(r²) and cos(r) =
// 1 - r²/2 + r⁴·C(r²) for |r| <= π/4, errors 5e-12 and 1e-10; atan(t) = t +
// t³·A(t²) for |t| <= 1, error 2.3e-9. π/2 is split in three.
var (
	cS                         [4]Mem
	cC                         [3]Mem
	cA                         [9]Mem
	cTwoOverPi, cPiHi, cPiMid  Mem
	cPiLo, cMinusHalf, cOneInt Mem
)

func trigonometry(mask Mem) {
	for i, v := range []float32{-1.66666666e-01, 8.33332927e-03, -1.98392961e-04, 2.71793983e-06} {
		cS[i] = splat(label("cs%d", i), v)
	}
	for i, v := range []float32{4.16666463e-02, -1.38873371e-03, 2.44348442e-05} {
		cC[i] = splat(label("cc%d", i), v)
	}
	for i, v := range []float32{-0.3333330186457158, 0.19998638552660858, -0.1426524459984519, 0.10957571857514803, -0.08419445982750329, 0.05823432035989431, -0.03145546938440877, 0.011064315172392097, -0.0018271846817848928} {
		cA[i] = splat(label("ca%d", i), v)
	}
	cTwoOverPi = splat("ctwooverpi", 0.63661977236758134308)
	cPiHi, cPiMid, cPiLo = splat("cpihi", 1.5707964), splat("cpimid", -4.371139e-08), splat("cpilo", -1.7151245e-15)
	cMinusHalf, cOneInt = splat("cminushalf", -0.5), splatBits("coneint", 1)

	heavy := func(name string, f func(v vecList)) {
		unaryOf(name, mask, nil, []int{2, 1}, func(v, _ vecList) { f(v) })
	}
	heavy("sin", func(v vecList) { turn(v, false) })
	heavy("cos", func(v vecList) { turn(v, true) })
	heavy("tan", func(v vecList) {
		for i := range v {
			k, s, c := reduceAngle(v[i])
			up, odd := YMM(), YMM()
			VPSLLD(Imm(31), k, odd)
			VBLENDVPS(odd, c, s, up)
			VBLENDVPS(odd, s, c, c)
			VANDPS(cSign, odd, odd)
			VXORPS(odd, up, up)
			VDIVPS(c, up, v[i])
		}
	})
	heavy("atan", func(v vecList) {
		for i := range v {
			t, over, one, z := YMM(), YMM(), YMM(), YMM()
			VANDPS(cAbs, v[i], t)
			VMOVUPS(cOne, one)
			VCMPPS(Imm(0x1e), one, t, over)
			VBLENDVPS(over, t, one, z)
			VBLENDVPS(over, one, t, t)
			VDIVPS(z, t, t)
			VMULPS(t, t, z)
			p := horner(cA[:], vecList{z})[0]
			VMULPS(z, p, p)
			VFMADD213PS(t, t, p)
			VMOVUPS(cPiHi, t)
			VSUBPS(p, t, t)
			VADDPS(cPiMid, t, t)
			VBLENDVPS(over, t, p, p)
			VANDPS(cSign, v[i], v[i])
			VORPS(p, v[i], v[i])
		}
	})
	// log1p: log(u) for u = 1+x, less what the sum lost, over u.
	heavy("log1p", func(v vecList) {
		lost, u := make(vecList, len(v)), make(vecList, len(v))
		for i := range v {
			t := YMM()
			lost[i], u[i] = YMM(), YMM()
			VADDPS(cOne, v[i], u[i])
			VSUBPS(cOne, u[i], lost[i])
			VSUBPS(v[i], lost[i], lost[i])
			VDIVPS(u[i], lost[i], lost[i])
			VCMPPS(Imm(7), lost[i], lost[i], t) // neither 0/0 nor inf-inf
			VANDPS(t, lost[i], lost[i])
		}
		logarithm(u)
		for i := range v {
			VSUBPS(lost[i], u[i], v[i])
		}
	})
}

// reduceAngle returns the nearest count of quarter turns in v, and the sine
// and the cosine of what is left.
func reduceAngle(v reg.VecVirtual) (k, s, c reg.VecVirtual) {
	r, z, t := YMM(), YMM(), YMM()
	k = YMM()
	VMOVAPS(v, r)
	VMULPS(cTwoOverPi, v, t)
	VROUNDPS(Imm(8), t, t)
	VFNMADD231PS(cPiHi, t, r)
	VFNMADD231PS(cPiMid, t, r)
	VFNMADD231PS(cPiLo, t, r)
	VCVTPS2DQ(t, k)
	VMULPS(r, r, z)
	s = horner(cS[:], vecList{z})[0]
	VMULPS(z, s, s)
	VFMADD213PS(r, r, s)
	c = horner(cC[:], vecList{z})[0]
	VFMADD213PS(cMinusHalf, z, c)
	VFMADD213PS(cOne, z, c)
	return k, s, c
}

// turn replaces v by its sine, or by its cosine: the sine of a quarter turn
// more.
func turn(v vecList, cosine bool) {
	for i := range v {
		k, s, c := reduceAngle(v[i])
		if cosine {
			VPADDD(cOneInt, k, k)
		}
		t := YMM()
		VPSLLD(Imm(31), k, t)
		VBLENDVPS(t, c, s, s)
		VPSLLD(Imm(30), k, t)
		VANDPS(cSign, t, t)
		VXORPS(t, s, v[i])
	}
}
