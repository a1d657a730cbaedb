package kernel

// Add computes y[i] = a[i] + b[i] for the elements of a. y and b are at least
// as long; y may be a or b. So of the three below.
func (k Impl) Add(y, a, b []float32) {
	y, b = y[:len(a)], b[:len(a)]
	if k.vector {
		addVector(y, a, b)
		return
	}
	addGeneric(y, a, b)
}

// Sub computes y[i] = a[i] - b[i].
func (k Impl) Sub(y, a, b []float32) {
	y, b = y[:len(a)], b[:len(a)]
	if k.vector {
		subVector(y, a, b)
		return
	}
	subGeneric(y, a, b)
}

// Mul computes y[i] = a[i] · b[i].
func (k Impl) Mul(y, a, b []float32) {
	y, b = y[:len(a)], b[:len(a)]
	if k.vector {
		mulVector(y, a, b)
		return
	}
	mulGeneric(y, a, b)
}

// Div computes y[i] = a[i] / b[i].
func (k Impl) Div(y, a, b []float32) {
	y, b = y[:len(a)], b[:len(a)]
	if k.vector {
		divVector(y, a, b)
		return
	}
	divGeneric(y, a, b)
}

func addGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v + b[i]
	}
}

func subGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v - b[i]
	}
}

func mulGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v * b[i]
	}
}

func divGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v / b[i]
	}
}
