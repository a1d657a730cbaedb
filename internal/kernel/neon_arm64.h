// Vector instructions that the assembler does not have, by their encodings.
// Operands are register numbers: destination, then sources. All are on four
// float32 or four 32-bit integers.

#define FADD(d, n, m) WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d)) // FADD Vd.4S, Vn.4S, Vm.4S
#define FSUB(d, n, m) WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d)) // FSUB Vd.4S, Vn.4S, Vm.4S
#define FMUL(d, n, m) WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d)) // FMUL Vd.4S, Vn.4S, Vm.4S
#define FDIV(d, n, m) WORD $(0x6E20FC00 | (m)<<16 | (n)<<5 | (d)) // FDIV Vd.4S, Vn.4S, Vm.4S
#define FMAX(d, n, m) WORD $(0x4E20F400 | (m)<<16 | (n)<<5 | (d)) // FMAX Vd.4S, Vn.4S, Vm.4S: NaN if either is
#define FMIN(d, n, m) WORD $(0x4EA0F400 | (m)<<16 | (n)<<5 | (d)) // FMIN Vd.4S, Vn.4S, Vm.4S: NaN if either is
#define FADDP(d, n, m) WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d)) // FADDP Vd.4S, Vn.4S, Vm.4S
#define FABS(d, n) WORD $(0x4EA0F800 | (n)<<5 | (d)) // FABS Vd.4S, Vn.4S
#define FNEG(d, n) WORD $(0x6EA0F800 | (n)<<5 | (d)) // FNEG Vd.4S, Vn.4S
#define FRINTN(d, n) WORD $(0x4E218800 | (n)<<5 | (d)) // FRINTN Vd.4S, Vn.4S: to the nearest, half to even
#define FCVTNS(d, n) WORD $(0x4E21A800 | (n)<<5 | (d)) // FCVTNS Vd.4S, Vn.4S: the same, to integers
#define FCMGTZ(d, n) WORD $(0x4EA0C800 | (n)<<5 | (d)) // FCMGT Vd.4S, Vn.4S, #0.0: false for NaN
#define SSHR1(d, n) WORD $(0x4F3F0400 | (n)<<5 | (d)) // SSHR Vd.4S, Vn.4S, #1
