package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	// wideRows is the most rows of a tile of gemmAVX512, and widePixels the most
	// positions of a tile of convTileAVX512: there are no more base registers.
	wideRows, widePixels = 14, 9
)

// wide generates the kernels of AVX-512: two panels of sixteen outputs at a
// time. Four chains of FMAs are enough there, so tiles may have any height.
func wide() {
	gemmWide()
	convTileWide()
}

func zmms(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = ZMM()
	}
	return v
}

// startPair sets the accumulators of a pair of panels to their biases.
func startPair(b reg.Register, acc []reg.VecVirtual) {
	VMOVUPS(Mem{Base: b}, acc[0])
	VMOVUPS(Mem{Base: b, Disp: 64}, acc[1])
	for i := 2; i < len(acc); i++ {
		VMOVAPS(acc[i%2], acc[i])
	}
}

// reluWide is relu for ZMM registers.
func reluWide(name string, acc []reg.VecVirtual) {
	on := GP8()
	Load(Param("relu"), on)
	TESTB(on, on)
	JZ(LabelRef(name + "linear"))
	zero := ZMM()
	VXORPS(zero, zero, zero)
	for i := range acc {
		VMAXPS(acc[i], zero, acc[i])
	}
	Label(name + "linear")
}

// secondMask returns the mask of the outputs of the second panel, n in 17..32.
func secondMask() reg.Register {
	bits, n := GP32(), GP32()
	Load(Param("n"), n.As64())
	SUBL(Imm(16), n)
	MOVL(U32(0xffffffff), bits)
	BZHIL(n, bits, bits)
	k := K()
	KMOVW(bits, k)
	return k
}

// gemmWide: the sum of gemv for tiles of rows and two panels of outputs.
//
// Registers: 14 rows of 32 are 28 accumulators, 2 for a step's weights, 2 for
// broadcasts: 16 loads and 28 FMAs a step.
func gemmWide() {
	TEXT("gemmAVX512", NOSPLIT, "func(y []float32, ldy int, x []float32, ldx int, w, b []float32, panel, k, n, height, tiles int, relu bool)")
	Pragma("noescape")
	Doc("gemmAVX512 is gemmGeneric for two panels and tiles rows of the given height,",
		"1 to 14. ldy, ldx and panel, the distance of the second panel, are in bytes; k",
		"is the number of inputs and n that of outputs, 17 to 32; tiles is positive.")

	y := Load(Param("y").Base(), GP64())
	ldy := Load(Param("ldy"), GP64())
	x := Load(Param("x").Base(), GP64())
	ldx := Load(Param("ldx"), GP64())
	ps := Load(Param("panel"), GP64())
	tiles := Load(Param("tiles"), GP64())
	mask := secondMask()
	{
		height := GP64()
		Load(Param("height"), height)
		for rows := wideRows; rows > 1; rows-- {
			CMPQ(height, Imm(uint64(rows)))
			JEQ(LabelRef(label("h%d", rows)))
		}
	}
	for rows := 1; rows <= wideRows; rows++ {
		name := label("h%d", rows)
		Label(name)
		acc := zmms(2 * rows)
		w, k := GP64(), GP64()
		Load(Param("b").Base(), w)
		startPair(w, acc)
		Load(Param("w").Base(), w)
		Load(Param("k"), k)
		at := []reg.GPVirtual{GP64()}
		MOVQ(x, at[0])
		for i := 3; i < rows; i += 3 {
			next, last := GP64(), at[len(at)-1]
			LEAQ(Mem{Base: last, Index: ldx, Scale: 2}, next)
			ADDQ(ldx, next)
			at = append(at, next)
		}
		Label(name + "loop")
		w0, w1 := ZMM(), ZMM()
		VMOVUPS(Mem{Base: w}, w0)
		VMOVUPS(Mem{Base: w, Index: ps, Scale: 1}, w1)
		for r := range rows {
			from := Mem{Base: at[r/3]}
			if r%3 > 0 {
				from.Index, from.Scale = ldx, uint8(r%3)
			}
			bc := ZMM()
			VBROADCASTSS(from, bc)
			VFMADD231PS(w0, bc, acc[2*r])
			VFMADD231PS(w1, bc, acc[2*r+1])
		}
		ADDQ(Imm(64), w)
		for _, a := range at {
			ADDQ(Imm(4), a)
		}
		SUBQ(Imm(1), k)
		JNE(LabelRef(name + "loop"))
		reluWide(name, acc)
		for r := range rows {
			VMOVUPS(acc[2*r], Mem{Base: y})
			VMOVUPS(acc[2*r+1], mask, Mem{Base: y, Disp: 64})
			ADDQ(ldy, y)
		}
		step := GP64()
		IMUL3Q(Imm(uint64(rows)), ldx, step)
		ADDQ(step, x)
		SUBQ(Imm(1), tiles)
		JNE(LabelRef(name))
		VZEROUPPER()
		RET()
	}
}

// convTileWide: the sum of convTile for up to nine positions and two panels.
//
// Registers: 18 accumulators, 2 for a term's weights, the rest for broadcasts;
// nine bases, and one index for the distance that all share.
func convTileWide() {
	TEXT("convTileAVX512", NOSPLIT, "func(y, x []float32, at, table []int32, w, b []float32, panel int, relu bool)")
	Pragma("noescape")
	Doc("convTileAVX512 is convTileGeneric for two panels and len(at) positions, 1 to 9.",
		"at counts elements; each of at and table together is an element of x. panel is",
		"in bytes.")
	n := Load(Param("at").Len(), GP64())
	for pixels := widePixels; pixels > 1; pixels-- {
		CMPQ(n, Imm(uint64(pixels)))
		JEQ(LabelRef(label("p%d", pixels)))
	}
	for pixels := 1; pixels <= widePixels; pixels++ {
		name := label("p%d", pixels)
		Label(name)
		acc := zmms(2 * pixels)
		w, idx := GP64(), GP64()
		Load(Param("b").Base(), w)
		startPair(w, acc)
		Load(Param("at").Base(), w)
		base := make([]reg.GPVirtual, pixels)
		for i := range base {
			base[i] = GP64()
			MOVLQSX(Mem{Base: w, Disp: 4 * i}, base[i])
		}
		Load(Param("x").Base(), w)
		for i := range base {
			LEAQ(Mem{Base: w, Index: base[i], Scale: 4}, base[i])
		}
		Load(Param("w").Base(), w)
		ps := Load(Param("panel"), GP64())
		table := Load(Param("table").Base(), GP64())
		end := Load(Param("table").Len(), GP64())
		LEAQ(Mem{Base: table, Index: end, Scale: 4}, end)
		CMPQ(table, end)
		JEQ(LabelRef(name + "done"))
		Label(name + "loop")
		MOVLQSX(Mem{Base: table}, idx)
		w0, w1 := ZMM(), ZMM()
		VMOVUPS(Mem{Base: w}, w0)
		VMOVUPS(Mem{Base: w, Index: ps, Scale: 1}, w1)
		for i := range base {
			bc := ZMM()
			VBROADCASTSS(Mem{Base: base[i], Index: idx, Scale: 4}, bc)
			VFMADD231PS(w0, bc, acc[2*i])
			VFMADD231PS(w1, bc, acc[2*i+1])
		}
		ADDQ(Imm(4), table)
		ADDQ(Imm(64), w)
		CMPQ(table, end)
		JNE(LabelRef(name + "loop"))
		Label(name + "done")
		reluWide(name, acc)
		y := Load(Param("y").Base(), GP64())
		for i := range acc {
			VMOVUPS(acc[i], Mem{Base: y, Disp: 64 * i})
		}
		VZEROUPPER()
		RET()
	}
}
