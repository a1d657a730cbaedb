package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The layout of chainOp.
const (
	opW, opTail, opBias      = 0, 8, 16
	opX, opY, opIn           = 24, 32, 40
	opBlocks, opOut, opPanel = 48, 56, 64
	opKind, opRelu, opSplit  = 72, 80, 88
	opConstants, opSize      = 96, 112
)

type chainGen struct {
	mask              Mem
	op, x, y, w, bias reg.GPVirtual
}

// chain generates what computes one row of several layers. AVX-512 does not
// pay here: 64 outputs are four chains of its registers, which is as many as
// an FMA takes cycles, and with eight of half the width the loads alone limit.
func chain() {
	vectorConstants()
	(&chainGen{mask: tailMask()}).generate()
}

// generate: op after op, each from memory to memory for one row: products in
// panel form as those of gemv, in dot form as those of dot, and functions of
// the elements as those of the vector kernels.
//
// Registers of a product with 64 outputs: 8 accumulators, 1 for four inputs and
// 1 for one of them in all lanes: one load brings four inputs and shuffles
// spread them, since the loads of the weights are what limits.
func (c *chainGen) generate() {
	TEXT("chainAVX2", NOSPLIT, "func(y, x, room *float32, ops *uint64, n int)")
	Pragma("noescape")
	Doc("chainAVX2 is Impl.Linear, layer after layer, for the n > 0 ops that lie at ops.",
		"Vectors in room take whole cache lines.")
	c.op, c.x, c.y, c.w, c.bias = GP64(), GP64(), GP64(), GP64(), GP64()
	n := GP64()
	Load(Param("ops"), c.op)
	Load(Param("n"), n)
	Label("op")
	c.pointer("x", opX, c.x)
	c.pointer("y", opY, c.y)
	kind := GP64()
	MOVQ(c.field(opKind), kind)
	kinds := []string{"panels", "dot", "copy", "clamp", "tanh", "sigmoid", "silu", "elu"}
	for i, name := range kinds[:len(kinds)-1] {
		CMPQ(kind, Imm(uint64(i)))
		JEQ(LabelRef(name))
	}
	c.function("elu", 3, func(v, k vecList) { elu(v, k) })
	c.function("silu", 0, func(v, _ vecList) { silu(v) })
	c.function("sigmoid", 0, func(v, _ vecList) { sigmoid(v) })
	c.function("tanh", 0, func(v, _ vecList) { tanh(v) })
	c.function("clamp", 2, func(v, k vecList) { clamp(v, k) })
	c.copy()
	c.panels()
	c.dot()
	Label("next")
	ADDQ(Imm(opSize), c.op)
	SUBQ(Imm(1), n)
	JNE(LabelRef("op"))
	VZEROUPPER()
	RET()
}

func (c *chainGen) field(at int) Mem { return Mem{Base: c.op, Disp: at} }

// pointer turns an offset in room, or -1 for the parameter, into an address.
func (c *chainGen) pointer(param string, at int, to reg.GPVirtual) {
	room := GP64()
	MOVQ(c.field(at), to)
	TESTQ(to, to)
	JGE(LabelRef(param + "room"))
	Load(Param(param), to)
	JMP(LabelRef(param + "set"))
	Label(param + "room")
	Load(Param("room"), room)
	ADDQ(room, to)
	Label(param + "set")
}

// relu raises the accumulators to zero where the op asks for it.
func (c *chainGen) relu(name string, acc []reg.VecVirtual) {
	CMPQ(c.field(opRelu), Imm(0))
	JEQ(LabelRef(name + "linear"))
	zero := YMM()
	VXORPS(zero, zero, zero)
	for i := range acc {
		VMAXPS(acc[i], zero, acc[i])
	}
	Label(name + "linear")
}

// panels: blocks of 64 outputs, whose weights lie step by step, and then up to
// four panels of 16, which lie panel by panel.
func (c *chainGen) panels() {
	Label("panels")
	blocks := GP64()
	MOVQ(c.field(opW), c.w)
	MOVQ(c.field(opBias), c.bias)
	MOVQ(c.field(opBlocks), blocks)
	Label("block")
	SUBQ(Imm(1), blocks)
	JLT(LabelRef("rest"))
	c.product("b", 4, 1, 256, func(panel int) Mem { return Mem{Base: c.w, Disp: 64 * panel} }, c.w)
	ADDQ(U32(256), c.y)
	ADDQ(U32(256), c.bias)
	JMP(LabelRef("block"))

	Label("rest")
	out, ps, w3 := GP64(), GP64(), GP64()
	MOVQ(c.field(opOut), out)
	MOVQ(c.field(opPanel), ps)
	MOVQ(c.field(opTail), c.w)
	for panels := 4; panels >= 1; panels-- {
		CMPQ(out, Imm(uint64(16*(panels-1))))
		JG(LabelRef(label("n%d", panels)))
	}
	JMP(LabelRef("next"))
	for panels := 4; panels >= 1; panels-- {
		name := label("n%d", panels)
		Label(name)
		if panels <= 2 {
			CMPQ(c.field(opSplit), Imm(0))
			JNE(LabelRef(name + "split"))
		}
		at := []Mem{{Base: c.w}, {Base: c.w, Index: ps, Scale: 1}, {Base: c.w, Index: ps, Scale: 2}, {Base: w3}}
		steps := []reg.GPVirtual{c.w}
		if panels == 4 {
			LEAQ(Mem{Base: c.w, Index: ps, Scale: 2}, w3)
			ADDQ(ps, w3)
			steps = append(steps, w3)
		}
		c.product(name, panels, 1, 64, func(panel int) Mem { return at[panel] }, steps...)
		JMP(LabelRef("next"))
		if panels <= 2 {
			Label(name + "split")
			c.product(name+"s", panels, 4/panels, 64, func(panel int) Mem { return at[panel] }, steps...)
			JMP(LabelRef("next"))
		}
	}
}

// product: the given panels of outputs for all inputs, four a turn. Each output
// has the given number of partial sums, 1, 2 or 4: input k of a turn goes to
// sum k mod parts, and they are added pairwise. at is the address of a panel's
// weights, stride the bytes from one input to the next, by which the registers
// of the weights move.
func (c *chainGen) product(name string, panels, parts, stride int, at func(panel int) Mem, w ...reg.GPVirtual) {
	acc := vecs(2 * panels * parts)
	for i := range acc {
		if i < 2*panels {
			VMOVUPS(Mem{Base: c.bias, Disp: 32 * i}, acc[i])
		} else {
			VXORPS(acc[i], acc[i], acc[i])
		}
	}
	x, k := GP64(), GP64()
	MOVQ(c.x, x)
	MOVQ(c.field(opIn), k)
	step := func(i int, bc reg.VecVirtual) {
		for j := range 2 * panels {
			VFMADD231PS(at(j/2).Offset(stride*i+32*(j%2)), bc, acc[i%parts*2*panels+j])
		}
	}
	SUBQ(Imm(4), k)
	JLT(LabelRef(name + "few"))
	Label(name + "loop")
	four := YMM()
	VBROADCASTF128(Mem{Base: x}, four)
	for i := range 4 {
		bc := YMM()
		VPERMILPS(Imm(uint64(0x55*i)), four, bc)
		step(i, bc)
	}
	for _, w := range w {
		ADDQ(U32(uint32(4*stride)), w)
	}
	ADDQ(Imm(16), x)
	SUBQ(Imm(4), k)
	JGE(LabelRef(name + "loop"))
	Label(name + "few")
	ADDQ(Imm(4), k)
	JZ(LabelRef(name + "done"))
	Label(name + "one")
	bc := YMM()
	VBROADCASTSS(Mem{Base: x}, bc)
	step(0, bc)
	for _, w := range w {
		ADDQ(U32(uint32(stride)), w)
	}
	ADDQ(Imm(4), x)
	SUBQ(Imm(1), k)
	JNE(LabelRef(name + "one"))
	Label(name + "done")
	for ; parts > 1; parts /= 2 {
		for i := range parts / 2 {
			for j := range 2 * panels {
				VADDPS(acc[(2*i+1)*2*panels+j], acc[2*i*2*panels+j], acc[i*2*panels+j])
			}
		}
	}
	acc = acc[:2*panels]
	c.relu(name, acc)
	for i := range acc {
		VMOVUPS(acc[i], Mem{Base: c.y, Disp: 32 * i})
	}
}

// dot: groups of four outputs, each with sixteen partial sums.
func (c *chainGen) dot() {
	Label("dot")
	out, k, x := GP64(), GP64(), GP64()
	MOVQ(c.field(opW), c.w)
	MOVQ(c.field(opBias), c.bias)
	MOVQ(c.field(opOut), out)
	MOVQ(c.field(opIn), k)
	ANDQ(Imm(15), k)
	// The masks of the last inputs: max(0, 8-rest) lanes off below, 8-max(0,
	// rest-8) above.
	masks := vecs(2)
	lo, hi, zero, table := GP64(), GP64(), GP64(), GP64()
	XORQ(zero, zero)
	MOVQ(U32(8), lo)
	SUBQ(k, lo)
	CMOVQLT(zero, lo)
	SUBQ(Imm(8), k)
	CMOVQLT(zero, k)
	MOVQ(U32(8), hi)
	SUBQ(k, hi)
	LEAQ(c.mask, table)
	VMOVUPS(Mem{Base: table, Index: lo, Scale: 4}, masks[0])
	VMOVUPS(Mem{Base: table, Index: hi, Scale: 4}, masks[1])
	Label("group")
	acc := vecs(8)
	for i := range acc {
		VXORPS(acc[i], acc[i], acc[i])
	}
	MOVQ(c.x, x)
	MOVQ(c.field(opIn), k)
	step := func(v []reg.VecVirtual) {
		for i := range acc {
			VFMADD231PS(Mem{Base: c.w, Disp: 32 * i}, v[i%2], acc[i])
		}
		ADDQ(U32(256), c.w)
	}
	SUBQ(Imm(16), k)
	JLT(LabelRef("dotlast"))
	Label("dotstep")
	v := vecs(2)
	for i := range v {
		VMOVUPS(Mem{Base: x, Disp: 32 * i}, v[i])
	}
	step(v)
	ADDQ(Imm(64), x)
	SUBQ(Imm(16), k)
	JGE(LabelRef("dotstep"))
	Label("dotlast")
	ADDQ(Imm(16), k)
	JZ(LabelRef("dotsum"))
	VMASKMOVPS(Mem{Base: x}, masks[0], v[0])
	VMASKMOVPS(Mem{Base: x, Disp: 32}, masks[1], v[1])
	step(v)
	Label("dotsum")
	sum := vecs(4)
	for i := range sum {
		VADDPS(acc[2*i+1], acc[2*i], sum[i])
	}
	VHADDPS(sum[1], sum[0], sum[0])
	VHADDPS(sum[3], sum[2], sum[2])
	VHADDPS(sum[2], sum[0], sum[0])
	VEXTRACTF128(Imm(1), sum[0], sum[1].AsX())
	VADDPS(sum[1].AsX(), sum[0].AsX(), sum[0].AsX())
	VADDPS(Mem{Base: c.bias}, sum[0].AsX(), sum[0].AsX())
	CMPQ(c.field(opRelu), Imm(0))
	JEQ(LabelRef("dotlinear"))
	none := XMM()
	VXORPS(none, none, none)
	VMAXPS(sum[0].AsX(), none, sum[0].AsX())
	Label("dotlinear")
	VMOVUPS(sum[0].AsX(), Mem{Base: c.y})
	ADDQ(Imm(16), c.y)
	ADDQ(Imm(16), c.bias)
	SUBQ(Imm(4), out)
	JG(LabelRef("group"))
	JMP(LabelRef("next"))
}

// copy: eight elements at a time, and the rest one by one.
func (c *chainGen) copy() {
	Label("copy")
	n := GP64()
	MOVQ(c.field(opOut), n)
	Label("copyloop")
	SUBQ(Imm(8), n)
	JLT(LabelRef("copyrest"))
	v := YMM()
	VMOVUPS(Mem{Base: c.x}, v)
	VMOVUPS(v, Mem{Base: c.y})
	ADDQ(Imm(32), c.x)
	ADDQ(Imm(32), c.y)
	JMP(LabelRef("copyloop"))
	Label("copyrest")
	ADDQ(Imm(8), n)
	JZ(LabelRef("next"))
	Label("copyone")
	one := GP32()
	MOVL(Mem{Base: c.x}, one)
	MOVL(one, Mem{Base: c.y})
	ADDQ(Imm(4), c.x)
	ADDQ(Imm(4), c.y)
	SUBQ(Imm(1), n)
	JNE(LabelRef("copyone"))
	JMP(LabelRef("next"))
}

// function: f of whole lines of sixteen elements.
func (c *chainGen) function(name string, constants int, f func(v, k vecList)) {
	Label(name)
	n := GP64()
	MOVQ(c.field(opOut), n)
	k := vecs(constants)
	for i := range k {
		VBROADCASTSS(c.field(opConstants+4*i), k[i])
	}
	Label(name + "loop")
	v := vecs(2)
	for i := range v {
		VMOVUPS(Mem{Base: c.x, Disp: 32 * i}, v[i])
	}
	f(v, k)
	for i := range v {
		VMOVUPS(v[i], Mem{Base: c.y, Disp: 32 * i})
	}
	ADDQ(Imm(64), c.x)
	ADDQ(Imm(64), c.y)
	SUBQ(Imm(16), n)
	JG(LabelRef(name + "loop"))
	JMP(LabelRef("next"))
}
