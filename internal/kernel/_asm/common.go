package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// splat returns a read-only constant of eight copies of v.
func splat(name string, v float32) Mem {
	return splatBits(name, math.Float32bits(v))
}

func splatBits(name string, bits uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(bits))
	}
	return m
}

// tailMask declares the table from which the mask of the first n of eight
// lanes is read at offset 4*(8-n).
func tailMask() Mem {
	m := GLOBL("tailmask", RODATA|NOPTR)
	for i := range 16 {
		v := uint32(0)
		if i < 8 {
			v = math.MaxUint32
		}
		DATA(4*i, U32(v))
	}
	return m
}

// storeTail writes the first n lanes of v, n in 0..7, to dst by three branches:
// a masked store is microcoded on AMD.
func storeTail(label string, dst Mem, v reg.VecVirtual, n, p reg.Register) {
	x := v.AsX()
	LEAQ(dst, p)
	TESTQ(U32(4), n)
	JZ(LabelRef(label + "2"))
	VMOVUPS(x, Mem{Base: p})
	ADDQ(Imm(16), p)
	VEXTRACTF128(Imm(1), v, x)
	Label(label + "2")
	TESTQ(U32(2), n)
	JZ(LabelRef(label + "1"))
	VMOVSD(x, Mem{Base: p})
	ADDQ(Imm(8), p)
	VPERMILPS(Imm(0xee), x, x)
	Label(label + "1")
	TESTQ(U32(1), n)
	JZ(LabelRef(label + "0"))
	VMOVSS(x, Mem{Base: p})
	Label(label + "0")
}

// storePanel writes the first n of the sixteen lanes of lo and hi, n in 1..16.
func storePanel(label string, dst Mem, lo, hi reg.VecVirtual, n, rest, p reg.Register) {
	CMPQ(n, Imm(16))
	JNE(LabelRef(label + "part"))
	VMOVUPS(lo, dst)
	VMOVUPS(hi, dst.Offset(32))
	JMP(LabelRef(label + "end"))
	Label(label + "part")
	MOVQ(n, rest)
	CMPQ(n, Imm(8))
	JLT(LabelRef(label + "low"))
	VMOVUPS(lo, dst)
	SUBQ(Imm(8), rest)
	storeTail(label+"h", dst.Offset(32), hi, rest, p)
	JMP(LabelRef(label + "end"))
	Label(label + "low")
	storeTail(label+"l", dst, lo, rest, p)
	Label(label + "end")
}

func vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = YMM()
	}
	return v
}

func label(format string, args ...any) string { return fmt.Sprintf(format, args...) }
