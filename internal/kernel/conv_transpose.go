package kernel

// ConvTranspose computes the gradient of a convolution: In and Out are the
// dimensions of its own operand x and result y, Channels those of x and
// Outputs those of y; w is in the order channel, output of the group, spatial;
// b may be nil. The bias comes first and then the terms in the order of
// channel and tap.
func ConvTranspose(y, x, w, b []float32, rows int, s *ConvShape) {
	inSize, outSize := s.In[0]*s.In[1]*s.In[2], s.Out[0]*s.Out[1]*s.Out[2]
	perGroup, channels := s.Outputs/s.Groups, s.Channels/s.Groups
	taps := s.Kernel[0] * s.Kernel[1] * s.Kernel[2]
	for r := range rows {
		for o := range s.Outputs {
			out := y[(r*s.Outputs+o)*outSize:][:outSize]
			var bias float32
			if b != nil {
				bias = b[o]
			}
			for i := range out {
				out[i] = bias
			}
			first := o / perGroup * channels
			for c := first; c < first+channels; c++ {
				in := x[(r*s.Channels+c)*inSize:][:inSize]
				s.scatter(out, in, w[(c*perGroup+o%perGroup)*taps:][:taps])
			}
		}
	}
}

// scatter adds the part of one input channel to one output channel.
func (s *ConvShape) scatter(out, in, w []float32) {
	for k0 := range s.Kernel[0] {
		for k1 := range s.Kernel[1] {
			for k2 := range s.Kernel[2] {
				v := w[(k0*s.Kernel[1]+k1)*s.Kernel[2]+k2]
				s.scatterTap(out, in, v, k0*s.Dilation[0]-s.Padding[0], k1*s.Dilation[1]-s.Padding[1], k2*s.Dilation[2]-s.Padding[2])
			}
		}
	}
}

// scatterTap adds v times the input to every Stride-th output from d0, d1, d2
// on.
func (s *ConvShape) scatterTap(out, in []float32, v float32, d0, d1, d2 int) {
	from := 0
	if d2 < 0 {
		from = ceilDiv(-d2, s.Stride[2])
	}
	to := s.In[2]
	if s.Out[2]-d2 <= 0 {
		return
	}
	if to = min(to, ceilDiv(s.Out[2]-d2, s.Stride[2])); from >= to {
		return
	}
	for i0 := range s.In[0] {
		o0 := i0*s.Stride[0] + d0
		if o0 < 0 || o0 >= s.Out[0] {
			continue
		}
		for i1 := range s.In[1] {
			o1 := i1*s.Stride[1] + d1
			if o1 < 0 || o1 >= s.Out[1] {
				continue
			}
			line := out[(o0*s.Out[1]+o1)*s.Out[2]:][:s.Out[2]]
			at := from*s.Stride[2] + d2
			for _, u := range in[(i0*s.In[1]+i1)*s.In[2]:][from:to] {
				line[at] += v * u
				at += s.Stride[2]
			}
		}
	}
}
