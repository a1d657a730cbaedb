package kernel

// ConvShape is the geometry of a convolution with up to three spatial
// dimensions; those that are not there come first and are 1 wide.
type ConvShape struct {
	Groups, Channels, Outputs int // channels of x, outputs of the weight
	In, Kernel, Out           [3]int
	Stride, Padding, Dilation [3]int
}

// Conv computes a convolution, x and y in the order row, channel, spatial; w
// in the order output, channel of the group, spatial; b may be nil. It adds
// the bias first and then, for each output, the terms in the order of w.
//
// It goes along lines of the last dimension, one weight at a time, so the
// innermost loop has neither branch nor padding.
func Conv(y, x, w, b []float32, rows int, s *ConvShape) {
	inSize, outSize := s.In[0]*s.In[1]*s.In[2], s.Out[0]*s.Out[1]*s.Out[2]
	perGroup := s.Channels / s.Groups
	taps := s.Kernel[0] * s.Kernel[1] * s.Kernel[2]
	for r := range rows {
		for o := range s.Outputs {
			out := y[(r*s.Outputs+o)*outSize : (r*s.Outputs+o+1)*outSize]
			var bias float32
			if b != nil {
				bias = b[o]
			}
			for i := range out {
				out[i] = bias
			}
			first := o / (s.Outputs / s.Groups) * perGroup
			for c := range perGroup {
				in := x[(r*s.Channels+first+c)*inSize:][:inSize]
				s.plane(out, in, w[(o*perGroup+c)*taps:][:taps])
			}
		}
	}
}

// plane adds the part of one input channel to one output channel.
func (s *ConvShape) plane(out, in, w []float32) {
	for k0 := range s.Kernel[0] {
		for k1 := range s.Kernel[1] {
			for k2 := range s.Kernel[2] {
				v := w[(k0*s.Kernel[1]+k1)*s.Kernel[2]+k2]
				s.tap(out, in, v, k0*s.Dilation[0]-s.Padding[0], k1*s.Dilation[1]-s.Padding[1], k2*s.Dilation[2]-s.Padding[2])
			}
		}
	}
}

// tap adds v times the input, displaced by d0, d1, d2.
func (s *ConvShape) tap(out, in []float32, v float32, d0, d1, d2 int) {
	from, to := s.span(2, d2)
	if from >= to {
		return
	}
	for o0 := range s.Out[0] {
		i0 := o0*s.Stride[0] + d0
		if i0 < 0 || i0 >= s.In[0] {
			continue
		}
		for o1 := range s.Out[1] {
			i1 := o1*s.Stride[1] + d1
			if i1 < 0 || i1 >= s.In[1] {
				continue
			}
			line := in[(i0*s.In[1]+i1)*s.In[2]:][:s.In[2]]
			dst := out[(o0*s.Out[1]+o1)*s.Out[2]:][from:to]
			at := from*s.Stride[2] + d2
			for i := range dst {
				dst[i] += v * line[at]
				at += s.Stride[2]
			}
		}
	}
}

// span returns the outputs of a dimension whose input, displaced by d, is
// inside.
func (s *ConvShape) span(dim, d int) (from, to int) {
	if d < 0 {
		from = ceilDiv(-d, s.Stride[dim])
	}
	if s.In[dim]-d <= 0 {
		return 0, 0
	}
	return from, min(s.Out[dim], ceilDiv(s.In[dim]-d, s.Stride[dim]))
}
