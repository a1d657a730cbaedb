package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// series is a constant of n numbers in the type of argument i.
func (c *call) series(n, i int, at func(k int) float64) value {
	if n < 0 || n > maxMadeElements {
		c.in.limit("%s of %d elements", c.name, n)
	}
	t := &graph.Tensor{DType: graph.Float64, Shape: graph.Shape{n}, F64: make([]float64, n)}
	for k := range t.F64 {
		t.F64[k] = at(k)
	}
	return newTensor(c.in.cast(c.in.constant(t), c.dtype(i, graph.Float32)))
}

func linspace(c *call) value {
	lo, hi, n := c.float(0, 0), c.float(1, 0), c.int(2, 100)
	return c.series(n, 3, func(k int) float64 { return lo + (hi-lo)*float64(k)/float64(max(n-1, 1)) })
}

func logspace(c *call) value {
	lo, hi, n, base := c.float(0, 0), c.float(1, 0), c.int(2, 100), c.float(3, 10)
	return c.series(n, 4, func(k int) float64 { return math.Pow(base, lo+(hi-lo)*float64(k)/float64(max(n-1, 1))) })
}

// hannWindow is half a cosine, which repeats after n elements where it is
// periodic and after n-1 where it is not; a single element is 1. Its second argument may be left out.
func hannWindow(c *call) value {
	n, dt := c.int(0, 0), 2
	period := n
	if periodic, ok := c.args[1].(bool); ok && !periodic {
		period = n - 1
	} else if !ok {
		if _, none := c.args[2].(absent); none {
			dt = 1
		}
	}
	if n == 1 {
		return c.series(1, dt, func(int) float64 { return 1 })
	}
	return c.series(n, dt, func(k int) float64 { return 0.5 - 0.5*math.Cos(2*math.Pi*float64(k)/float64(max(period, 1))) })
}

// triangleIndices are the rows and the columns of the elements of a triangle.
func triangleIndices(c *call, keep func(row, col, k int) bool) value {
	n, m, k := c.int(0, 0), c.int(1, 0), c.int(2, 0)
	c.in.cost(c.in.area(n, m) / 16)
	var rowAt, colAt []int64
	for r := range n {
		for col := range m {
			if keep(r, col, k) {
				rowAt, colAt = append(rowAt, int64(r)), append(colAt, int64(col))
			}
		}
	}
	t := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{2, len(rowAt)}, I64: append(rowAt, colAt...)}
	return newTensor(c.in.cast(c.in.constant(t), c.dtype(3, graph.Int64)))
}
