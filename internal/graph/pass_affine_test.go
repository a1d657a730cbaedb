package graph

// Before and after of the passes on affine functions, and of those that tidy up.

var affineCases = []passCase{
	{"normalisation", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%mean = const "mean" f32[2] {1,-2}
%std = const "std" f32[1,2] {2,0.5}
%a = sub(%x,%mean)
%y = div(%a,%std)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%s = const "" f32[2] {0.5,2}
%a = mul(%x,%s)
%t = const "" f32[2] {-0.5,4}
%y = add(%a,%t)
output "y" %y
`, 1e-6},
	{"a mean far from zero stays before the product", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%mean = const "mean" f32[2] {1000,0}
%std = const "std" f32[2] {0.5,1}
%low = const "" f32[] {0.25}
%a = sub(%x,%mean)
%b = div(%a,%std)
%y = add(%b,%low)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%mean = const "" f32[2] {-1000,0}
%a = add(%x,%mean)
%s = const "" f32[2] {2,1}
%b = mul(%a,%s)
%t = const "" f32[2] {0.25,0.25}
%y = add(%b,%t)
output "y" %y
`, 1e-6},
	{"the range of an action", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%a = tanh(%x)
%one = const "" i64[] {1}
%half = const "" f64[] {0.5}
%width = const "" f32[2] {2000,4}
%low = const "" f32[2] {-1000,0}
%b = add(%a,%one)
%c = mul(%half,%b)
%d = mul(%c,%width)
%y = add(%low,%d)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%a = tanh(%x)
%s = const "" f32[2] {1000,2}
%b = mul(%a,%s)
%t = const "" f32[2] {0,2}
%y = add(%b,%t)
output "y" %y
`, 1e-6},
	{"what changes nothing", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%one = const "" f32[] {1}
%zero = const "" f32[2] {0,0}
%a = mul(%x,%one)
%b = sub(%a,%zero)
%c = neg(%b)
%d = neg(%c)
%y = div(%d,%one)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
output "y" %x
`, 0},
	{"a number less the value", fuseAffine, `graph "g"
%x = input "x" f32[B]
%one = const "" f32[] {1}
%y = sub(%one,%x)
output "y" %y
`, `graph "g"
%x = input "x" f32[B]
%s = const "" f32[] {-1}
%a = mul(%x,%s)
%one = const "" f32[] {1}
%y = add(%a,%one)
output "y" %y
`, 1e-6},
	{"a number by the value, and integers that become floating point, stay", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%i = input "i" i64[B,2]
%c = const "" f32[] {2}
%y = div(%c,%x)
%a = sub(%i,%c)
output "y" %y
output "a" %a
`, `graph "g"
%x = input "x" f32[B,2]
%i = input "i" i64[B,2]
%c = const "" f32[] {2}
%y = div(%c,%x)
%a = sub(%i,%c)
output "y" %y
output "a" %a
`, 0},
	{"a step that someone else needs stays", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {2,4}
%a = mul(%x,%c)
%b = mul(%a,%c)
%d = add(%a,%c)
output "b" %b
output "d" %d
`, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {2,4}
%a = mul(%x,%c)
%b = mul(%a,%c)
%d = add(%a,%c)
output "b" %b
output "d" %d
`, 0},
	{"half precision, integers, division by zero and stretching stay", fuseAffine, `graph "g"
%x = input "x" bf16[B,1]
%i = input "i" i64[B,1]
%f = input "f" f32[B,1]
%three = const "" bf16[] {3}
%a = mul(%x,%three)
%b = div(%a,%three)
%two = const "" i64[] {2}
%c = mul(%i,%two)
%d = mul(%c,%two)
%zero = const "" f32[] {0}
%e = div(%f,%zero)
%wide = const "" f32[2] {1,2}
%h = add(%f,%wide)
output "b" %b
output "d" %d
output "e" %e
output "h" %h
`, `graph "g"
%x = input "x" bf16[B,1]
%i = input "i" i64[B,1]
%f = input "f" f32[B,1]
%three = const "" bf16[] {3}
%a = mul(%x,%three)
%b = div(%a,%three)
%two = const "" i64[] {2}
%c = mul(%i,%two)
%d = mul(%c,%two)
%zero = const "" f32[] {0}
%e = div(%f,%zero)
%wide = const "" f32[2] {1,2}
%h = add(%f,%wide)
output "b" %b
output "d" %d
output "e" %e
output "h" %h
`, 0},
}

var scaleCases = []passCase{
	{"scale and shift behind linear", foldScale, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%b = const "b" f32[2] {1,-1}
%y = linear(%x,%w,%b)
%s = const "" f32[2] {2,0.5}
%t = const "" f32[] {1}
%p = mul(%y,%s)
%q = sub(%p,%t)
output "q" %q
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {2,4,1.5,2}
%b = const "b" f32[2] {1,-1.5}
%q = linear(%x,%w,%b)
output "q" %q
`, 1e-6},
	{"a product needs no bias", foldScale, `graph "g"
%x = input "x" f64[B,2]
%w = const "w" f64[1,2] {1,2}
%y = linear(%x,%w)
%q = neg(%y)
output "q" %q
`, `graph "g"
%x = input "x" f64[B,2]
%w = const "w" f64[1,2] {-1,-2}
%q = linear(%x,%w)
output "q" %q
`, 0},
	{"a result that someone else needs stays", foldScale, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%y = linear(%x,%w)
%s = const "" f32[] {3}
%q = mul(%y,%s)
output "q" %q
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%y = linear(%x,%w)
%s = const "" f32[] {3}
%q = mul(%y,%s)
output "q" %q
output "y" %y
`, 0},
	{"what would overflow stays", foldScale, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1e+30,2}
%y = linear(%x,%w)
%s = const "" f32[] {1e+20}
%q = mul(%y,%s)
output "q" %q
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1e+30,2}
%y = linear(%x,%w)
%s = const "" f32[] {1e+20}
%q = mul(%y,%s)
output "q" %q
`, 0},
}

var normaliseCases = []passCase{
	{"into both heads", foldNormalise, `graph "g"
%x = input "x" f32[B,2]
%mean = const "mean" f32[2] {1,-2}
%std = const "std" f32[2] {2,0.5}
%a = sub(%x,%mean)
%z = div(%a,%std)
%w = const "pi" f32[1,2] {4,8}
%b = const "pi.b" f32[1] {1}
%v = const "vf" f32[2,2] {2,0,0,1}
%p = linear(%z,%w,%b)
%q = linear(%z,%v)
output "p" %p
output "q" %q
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "pi" f32[1,2] {2,16}
%b = const "pi.b" f32[1] {31}
%p = linear(%x,%w,%b)
%v = const "vf" f32[2,2] {1,0,0,2}
%c = const "" f32[2] {-1,4}
%q = linear(%x,%v,%c)
output "p" %p
output "q" %q
`, 1e-6},
	{"through double precision", foldNormalise, `graph "g"
%x = input "x" f32[B,2]
%d = cast(%x) dtype=f64
%mean = const "mean" f64[2] {1,-2}
%a = sub(%d,%mean)
%s = cast(%a) dtype=f32
%w = const "w" f32[1,2] {1,1}
%y = linear(%s,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,1}
%b = const "" f32[1] {1}
%y = linear(%x,%w,%b)
output "y" %y
`, 1e-6},
	{"a mean far from zero stays", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%mean = const "mean" f32[1] {1000}
%a = sub(%x,%mean)
%w = const "w" f32[1,1] {1}
%y = linear(%a,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%mean = const "mean" f32[1] {1000}
%a = sub(%x,%mean)
%w = const "w" f32[1,1] {1}
%y = linear(%a,%w)
output "y" %y
`, 0},
	{"so does one whose product alone could go", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%mean = const "" f32[1] {1}
%std = const "" f32[1] {0.001}
%w = const "w" f32[1,1] {0.5}
%a = sub(%x,%mean)
%b = div(%a,%std)
%y = linear(%b,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%mean = const "" f32[1] {1}
%a = sub(%x,%mean)
%std = const "" f32[1] {0.001}
%b = div(%a,%std)
%w = const "w" f32[1,1] {0.5}
%y = linear(%b,%w)
output "y" %y
`, 0},
	{"a rounding to integers or half precision stays", foldNormalise, `graph "g"
%x = input "x" f32[B,2]
%i = cast(%x) dtype=i64
%f = cast(%i) dtype=f32
%w = const "w" f32[1,2] {1,1}
%y = linear(%f,%w)
%h = cast(%x) dtype=f16
%g = cast(%h) dtype=f32
%z = linear(%g,%w)
output "y" %y
output "z" %z
`, `graph "g"
%x = input "x" f32[B,2]
%i = cast(%x) dtype=i64
%f = cast(%i) dtype=f32
%w = const "w" f32[1,2] {1,1}
%y = linear(%f,%w)
%h = cast(%x) dtype=f16
%g = cast(%h) dtype=f32
%z = linear(%g,%w)
output "y" %y
output "z" %z
`, 0},
	{"a clip stays", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%c = clamp(%a) min=-5 max=5
%w = const "w" f32[1,1] {1}
%y = linear(%c,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%c = clamp(%a) min=-5 max=5
%w = const "w" f32[1,1] {1}
%y = linear(%c,%w)
output "y" %y
`, 0},
	{"half precision stays", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%h = cast(%a) dtype=bf16
%w = const "w" bf16[1,1] {1}
%y = linear(%h,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%h = cast(%a) dtype=bf16
%w = const "w" bf16[1,1] {1}
%y = linear(%h,%w)
output "y" %y
`, 0},
}

var cleanupCases = []passCase{
	{"what two heads share", shareCommon, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%w2 = const "copy" f32[2,2] {1,2,3,4}
%a = linear(%x,%w)
%b = linear(%x,%w2)
%c = tanh(%a)
%d = tanh(%b)
%e = elu(%b)
%f = elu(%a) alpha=2
%n = normal(%a) stream=0
%m = normal(%b) stream=1
output "c" %c
output "d" %d
output "e" %e
output "f" %f
output "n" %n
output "m" %m
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%a = linear(%x,%w)
%c = tanh(%a)
%e = elu(%a)
%f = elu(%a) alpha=2
%n = normal(%a) stream=0
%m = normal(%a) stream=1
output "c" %c
output "d" %c
output "e" %e
output "f" %f
output "n" %n
output "m" %m
`, 0},
	{"what no output needs", removeDead, `graph "g"
%x = input "x" f32[B,2]
%u = input "unused" f32[B,2]
%a = tanh(%x)
%b = add(%a,%u)
%c = exp(%b)
%y = relu(%x)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%u = input "unused" f32[B,2]
%y = relu(%x)
output "y" %y
`, 0},
}
