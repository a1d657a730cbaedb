//go:build !noasm

#include "textflag.h"
#include "neon_arm64.h"

// Four accumulators take one input, broadcast in T, times the sixteen weights
// in W0 to W3.
#define FMA16(T, W0, W1, W2, W3, A0, A1, A2, A3) \
	VFMLA T.S4, W0.S4, A0.S4 \
	VFMLA T.S4, W1.S4, A1.S4 \
	VFMLA T.S4, W2.S4, A2.S4 \
	VFMLA T.S4, W3.S4, A3.S4

#define RELU4(z, a, b, c, d) \
	FMAX(a, a, z) \
	FMAX(b, b, z) \
	FMAX(c, c, z) \
	FMAX(d, d, z)

// func gemvNEON(y, x, w, b []float32, panelStride, stepStride int, relu bool)
//
// y[j] = act(b[j] + Σ_k x[k]·w[panel(j)][k][j mod 16]), k ascending, one FMA a
// term, one accumulator an output: 64 outputs in V0-V15 while there are as
// many, then 16. V16 is the broadcast input, V20-V27 weights.
TEXT ·gemvNEON(SB), NOSPLIT, $0-113
	MOVD y_base+0(FP), R0
	MOVD y_len+8(FP), R1
	MOVD x_len+32(FP), R7
	MOVD w_base+48(FP), R2
	MOVD b_base+72(FP), R3
	MOVD panelStride+96(FP), R4
	MOVD stepStride+104(FP), R5
	MOVBU relu+112(FP), R6
	VEOR V31.B16, V31.B16, V31.B16

wide:
	CMP $64, R1
	BLT narrow
	VLD1.P 64(R3), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R3), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1.P 64(R3), [V8.S4, V9.S4, V10.S4, V11.S4]
	VLD1.P 64(R3), [V12.S4, V13.S4, V14.S4, V15.S4]
	MOVD x_base+24(FP), R8
	MOVD R7, R9
	MOVD R2, R10
	ADD R4, R10, R11
	ADD R4, R11, R12
	ADD R4, R12, R13
	CBZ R9, widedone
wideloop:
	VLD1R.P 4(R8), [V16.S4]
	VLD1.P (R10)(R5), [V20.S4, V21.S4, V22.S4, V23.S4]
	VLD1.P (R11)(R5), [V24.S4, V25.S4, V26.S4, V27.S4]
	FMA16(V16, V20, V21, V22, V23, V0, V1, V2, V3)
	VLD1.P (R12)(R5), [V20.S4, V21.S4, V22.S4, V23.S4]
	FMA16(V16, V24, V25, V26, V27, V4, V5, V6, V7)
	VLD1.P (R13)(R5), [V24.S4, V25.S4, V26.S4, V27.S4]
	FMA16(V16, V20, V21, V22, V23, V8, V9, V10, V11)
	FMA16(V16, V24, V25, V26, V27, V12, V13, V14, V15)
	SUBS $1, R9, R9
	BNE wideloop
widedone:
	CBZ R6, widestore
	RELU4(31, 0, 1, 2, 3)
	RELU4(31, 4, 5, 6, 7)
	RELU4(31, 8, 9, 10, 11)
	RELU4(31, 12, 13, 14, 15)
widestore:
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R0)
	VST1.P [V8.S4, V9.S4, V10.S4, V11.S4], 64(R0)
	VST1.P [V12.S4, V13.S4, V14.S4, V15.S4], 64(R0)
	ADD R7<<8, R2, R2 // in either packing 64 outputs take 256 bytes an input
	SUB $64, R1, R1
	B wide

narrow:
	CBZ R1, done
	VLD1.P 64(R3), [V0.S4, V1.S4, V2.S4, V3.S4]
	MOVD x_base+24(FP), R8
	MOVD R7, R9
	MOVD R2, R10
	CBZ R9, narrowdone
narrowloop:
	VLD1R.P 4(R8), [V16.S4]
	VLD1.P (R10)(R5), [V20.S4, V21.S4, V22.S4, V23.S4]
	FMA16(V16, V20, V21, V22, V23, V0, V1, V2, V3)
	SUBS $1, R9, R9
	BNE narrowloop
narrowdone:
	CBZ R6, narrowstore
	RELU4(31, 0, 1, 2, 3)
narrowstore:
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	ADD R4, R2, R2
	SUB $16, R1, R1
	B narrow
done:
	RET

// A row of a tile: its input, from X, times the weights of the step in V24-V27.
#define ROW(X, T, A0, A1, A2, A3) \
	VLD1R.P 4(X), [T.S4] \
	FMA16(T, V24, V25, V26, V27, A0, A1, A2, A3)

#define BIAS(A0, A1, A2, A3) VLD1 (R6), [A0.S4, A1.S4, A2.S4, A3.S4]

#define STORE(A0, A1, A2, A3) VST1.P [A0.S4, A1.S4, A2.S4, A3.S4], (R0)(R1)

// func gemmNEON(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, tiles6, tiles5, tiles4 int, relu bool)
//
// The sum of gemv for many rows and one whole panel, in tiles of 6, 5 and 4
// rows: 24, 20 or 16 accumulators, V24-V27 the weights of a step, V28-V30
// broadcast inputs, V31 zero.
TEXT ·gemmNEON(SB), NOSPLIT, $0-145
	MOVD y_base+0(FP), R0
	MOVD ldy+24(FP), R1
	MOVD x_base+32(FP), R2
	MOVD ldx+56(FP), R3
	MOVD b_base+88(FP), R6
	MOVD k+112(FP), R5
	MOVBU relu+144(FP), R7
	VEOR V31.B16, V31.B16, V31.B16

	MOVD tiles6+120(FP), R8
tile6:
	CBZ R8, none6
	SUB $1, R8, R8
	MOVD R2, R10
	ADD R3, R10, R11
	ADD R3, R11, R12
	ADD R3, R12, R13
	ADD R3, R13, R14
	ADD R3, R14, R15
	ADD R3, R15, R2
	MOVD w_base+64(FP), R4
	MOVD R5, R9
	BIAS(V0, V1, V2, V3)
	BIAS(V4, V5, V6, V7)
	BIAS(V8, V9, V10, V11)
	BIAS(V12, V13, V14, V15)
	BIAS(V16, V17, V18, V19)
	BIAS(V20, V21, V22, V23)
loop6:
	VLD1.P 64(R4), [V24.S4, V25.S4, V26.S4, V27.S4]
	ROW(R10, V28, V0, V1, V2, V3)
	ROW(R11, V29, V4, V5, V6, V7)
	ROW(R12, V30, V8, V9, V10, V11)
	ROW(R13, V28, V12, V13, V14, V15)
	ROW(R14, V29, V16, V17, V18, V19)
	ROW(R15, V30, V20, V21, V22, V23)
	SUBS $1, R9, R9
	BNE loop6
	CBZ R7, store6
	RELU4(31, 0, 1, 2, 3)
	RELU4(31, 4, 5, 6, 7)
	RELU4(31, 8, 9, 10, 11)
	RELU4(31, 12, 13, 14, 15)
	RELU4(31, 16, 17, 18, 19)
	RELU4(31, 20, 21, 22, 23)
store6:
	STORE(V0, V1, V2, V3)
	STORE(V4, V5, V6, V7)
	STORE(V8, V9, V10, V11)
	STORE(V12, V13, V14, V15)
	STORE(V16, V17, V18, V19)
	STORE(V20, V21, V22, V23)
	B tile6
none6:

	MOVD tiles5+128(FP), R8
tile5:
	CBZ R8, none5
	SUB $1, R8, R8
	MOVD R2, R10
	ADD R3, R10, R11
	ADD R3, R11, R12
	ADD R3, R12, R13
	ADD R3, R13, R14
	ADD R3, R14, R2
	MOVD w_base+64(FP), R4
	MOVD R5, R9
	BIAS(V0, V1, V2, V3)
	BIAS(V4, V5, V6, V7)
	BIAS(V8, V9, V10, V11)
	BIAS(V12, V13, V14, V15)
	BIAS(V16, V17, V18, V19)
loop5:
	VLD1.P 64(R4), [V24.S4, V25.S4, V26.S4, V27.S4]
	ROW(R10, V28, V0, V1, V2, V3)
	ROW(R11, V29, V4, V5, V6, V7)
	ROW(R12, V30, V8, V9, V10, V11)
	ROW(R13, V28, V12, V13, V14, V15)
	ROW(R14, V29, V16, V17, V18, V19)
	SUBS $1, R9, R9
	BNE loop5
	CBZ R7, store5
	RELU4(31, 0, 1, 2, 3)
	RELU4(31, 4, 5, 6, 7)
	RELU4(31, 8, 9, 10, 11)
	RELU4(31, 12, 13, 14, 15)
	RELU4(31, 16, 17, 18, 19)
store5:
	STORE(V0, V1, V2, V3)
	STORE(V4, V5, V6, V7)
	STORE(V8, V9, V10, V11)
	STORE(V12, V13, V14, V15)
	STORE(V16, V17, V18, V19)
	B tile5
none5:

	MOVD tiles4+136(FP), R8
tile4:
	CBZ R8, none4
	SUB $1, R8, R8
	MOVD R2, R10
	ADD R3, R10, R11
	ADD R3, R11, R12
	ADD R3, R12, R13
	ADD R3, R13, R2
	MOVD w_base+64(FP), R4
	MOVD R5, R9
	BIAS(V0, V1, V2, V3)
	BIAS(V4, V5, V6, V7)
	BIAS(V8, V9, V10, V11)
	BIAS(V12, V13, V14, V15)
loop4:
	VLD1.P 64(R4), [V24.S4, V25.S4, V26.S4, V27.S4]
	ROW(R10, V28, V0, V1, V2, V3)
	ROW(R11, V29, V4, V5, V6, V7)
	ROW(R12, V30, V8, V9, V10, V11)
	ROW(R13, V28, V12, V13, V14, V15)
	SUBS $1, R9, R9
	BNE loop4
	CBZ R7, store4
	RELU4(31, 0, 1, 2, 3)
	RELU4(31, 4, 5, 6, 7)
	RELU4(31, 8, 9, 10, 11)
	RELU4(31, 12, 13, 14, 15)
store4:
	STORE(V0, V1, V2, V3)
	STORE(V4, V5, V6, V7)
	STORE(V8, V9, V10, V11)
	STORE(V12, V13, V14, V15)
	B tile4
none4:
	RET

// One step of the dot form: sixteen inputs in V16-V19 times those of four
// outputs.
#define DOTSTEP \
	VLD1.P 64(R4), [V20.S4, V21.S4, V22.S4, V23.S4] \
	VFMLA V16.S4, V20.S4, V0.S4 \
	VFMLA V17.S4, V21.S4, V1.S4 \
	VFMLA V18.S4, V22.S4, V2.S4 \
	VFMLA V19.S4, V23.S4, V3.S4 \
	VLD1.P 64(R4), [V24.S4, V25.S4, V26.S4, V27.S4] \
	VFMLA V16.S4, V24.S4, V4.S4 \
	VFMLA V17.S4, V25.S4, V5.S4 \
	VFMLA V18.S4, V26.S4, V6.S4 \
	VFMLA V19.S4, V27.S4, V7.S4 \
	VLD1.P 64(R4), [V20.S4, V21.S4, V22.S4, V23.S4] \
	VFMLA V16.S4, V20.S4, V8.S4 \
	VFMLA V17.S4, V21.S4, V9.S4 \
	VFMLA V18.S4, V22.S4, V10.S4 \
	VFMLA V19.S4, V23.S4, V11.S4 \
	VLD1.P 64(R4), [V24.S4, V25.S4, V26.S4, V27.S4] \
	VFMLA V16.S4, V24.S4, V12.S4 \
	VFMLA V17.S4, V25.S4, V13.S4 \
	VFMLA V18.S4, V26.S4, V14.S4 \
	VFMLA V19.S4, V27.S4, V15.S4

#define ZERO4(A, B, C, D) \
	VEOR A.B16, A.B16, A.B16 \
	VEOR B.B16, B.B16, B.B16 \
	VEOR C.B16, C.B16, C.B16 \
	VEOR D.B16, D.B16, D.B16

// func dotNEON(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, rows int, relu bool)
//
// y[r][j] = act(b[j] + x[r]·w[j]) for four outputs: V0-V3 are the sixteen
// partial sums of the first, and so on. The last inputs of a row, fewer than
// sixteen, go through a buffer of zeros, so that nothing is read beyond them.
TEXT ·dotNEON(SB), NOSPLIT, $64-129
	MOVD y_base+0(FP), R0
	MOVD ldy+24(FP), R1
	MOVD x_base+32(FP), R2
	MOVD ldx+56(FP), R3
	MOVD b_base+88(FP), R6
	MOVD rows+120(FP), R8
	MOVBU relu+128(FP), R7
	MOVD $buf-64(SP), R11
row:
	ZERO4(V0, V1, V2, V3)
	ZERO4(V4, V5, V6, V7)
	ZERO4(V8, V9, V10, V11)
	ZERO4(V12, V13, V14, V15)
	MOVD w_base+64(FP), R4
	MOVD k+112(FP), R5
	MOVD R2, R10
step:
	CMP $16, R5
	BLT last
	VLD1.P 64(R10), [V16.S4, V17.S4, V18.S4, V19.S4]
	DOTSTEP
	SUB $16, R5, R5
	B step
last:
	CBZ R5, reduce
	ZERO4(V16, V17, V18, V19)
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R11)
	MOVD R11, R12
copy:
	MOVWU.P 4(R10), R13
	MOVW.P R13, 4(R12)
	SUBS $1, R5, R5
	BNE copy
	VLD1 (R11), [V16.S4, V17.S4, V18.S4, V19.S4]
	DOTSTEP
reduce:
	// lanes l and l+8
	FADD(0, 0, 2)
	FADD(1, 1, 3)
	FADD(4, 4, 6)
	FADD(5, 5, 7)
	FADD(8, 8, 10)
	FADD(9, 9, 11)
	FADD(12, 12, 14)
	FADD(13, 13, 15)
	// then neighbours, twice
	FADDP(0, 0, 4)
	FADDP(8, 8, 12)
	FADDP(0, 0, 8)
	FADDP(1, 1, 5)
	FADDP(9, 9, 13)
	FADDP(1, 1, 9)
	// then the halves, then the bias
	FADD(0, 0, 1)
	VLD1 (R6), [V2.S4]
	FADD(0, 0, 2)
	CBZ R7, store
	VEOR V3.B16, V3.B16, V3.B16
	FMAX(0, 0, 3)
store:
	VST1.P [V0.S4], (R0)(R1)
	ADD R3, R2, R2
	SUBS $1, R8, R8
	BNE row
	RET
