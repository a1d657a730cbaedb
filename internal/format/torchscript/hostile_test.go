package torchscript_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
)

// TestLowerHugeNumbers gives functions numbers whose product overflows, or that
// ask for more memory than any policy needs: each is refused at once, and before
// the memory is taken.
func TestLowerHugeNumbers(t *testing.T) {
	const e40, e32, e24 = "1099511627776", "4294967296", "16777216"
	wide := "w = torch.expand(torch.ones([1]), [268435456])\n" // no memory, until someone makes an index of it
	for _, body := range []string{
		"return torch.affine_grid_generator(torch.ones([1, 2, 3]), [1, 1, " + e40 + ", " + e24 + "], False)",
		"return torch.affine_grid_generator(torch.ones([1, 2, 3]), [1, 1, " + e32 + ", " + e32 + "], False)",
		"return torch.affine_grid_generator(torch.ones([1, 2, 3]), [1, 1, 2048, 2048], False)",
		"return torch.eye(" + e40 + ", " + e24 + ")",
		"return torch.eye(" + e32 + ")",
		"return torch.tril_indices(" + e40 + ", " + e24 + ")",
		"return torch.tril(torch.zeros([" + e40 + ", " + e24 + "]))",
		"return torch.tril(torch.expand(torch.ones([1]), [16384, 16384]))",
		"return torch.diag(torch.zeros([0]), " + e40 + ")",
		"return torch.diag(torch.ones([1]), 4294967295)",
		"return torch.diag_embed(torch.ones([2]), -4294967294)",
		"return torch.diag(torch.select(x, 1, 0))",
		"return torch.pixel_unshuffle(torch.zeros([1, 0, 0]), " + e32 + ")",
		"return torch.pixel_shuffle(torch.zeros([0, 1, 1]), " + e32 + ")",
		"return torch.im2col(torch.ones([1, 4, 4]), [" + e32 + ", " + e32 + "], 1, 0, 1)",
		"return torch.im2col(torch.ones([1, 1, 1]), [3, 3], 1, 0, 100)",
		"return torch.im2col(torch.ones([1, 4, 4]), [2, 2], " + e40 + ", 0, 1)",
		"return torch.col2im(torch.ones([1, 4, 1]), [" + e40 + ", " + e40 + "], [2, 2], 1, 0, " + e40 + ")",
		"return torch.col2im(torch.ones([1, 4, 1]), [-5, -5], [2, 2], 1, 0, 100)",
		"a = torch.expand(torch.ones([1]), [2097152])\nl = torch.meshgrid([a, a, a])\nreturn l[0]",
		"return torch.one_hot(torch.to(x, 4), " + e40 + ")",
		"return torch.scaled_dot_product_attention(torch.expand(torch.ones([1, 1]), [16384, 1]), torch.expand(torch.ones([1, 1]), [16384, 1]), torch.expand(torch.ones([1, 1]), [16384, 1]), None, 0., True)",
		"return torch.conv1d(torch.ones([1, 1, 9]), torch.ones([1, 1, 3]), None, 1, \"same\", " + e40 + ")",
		wide + "return torch.flip(w, [0])",
		wide + "return torch.repeat_interleave(w, 1, 0)",
		wide + "v = torch.mul(w, 1)\n_0 = torch.fill_(torch.slice(v, 0, 0, 268435456, 2), 3)\nreturn v",
		wide + "return torch.avg_pool1d(torch.reshape(w, [1, 268435456]), [1])",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := lower(t, forward(body), objectPickle)
		runtime.ReadMemStats(&after)
		if err == nil || errors.Is(err, torchscript.ErrInternal) {
			t.Errorf("error is %v in\n%s", err, body)
		}
		// What has no bound takes minutes; a busy machine makes a second of milliseconds.
		if took := time.Since(start); took > slowdown*10*time.Second {
			t.Errorf("took %v:\n%s", took, body)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
			t.Errorf("allocated %d MiB:\n%s", grown>>20, body)
		}
	}
	gives(t, "g = torch.affine_grid_generator(torch.tensor([[[1., 0., 0.], [0., 1., 0.]]]), [1, 1, 2, 1], False)\nreturn g", 0, -0.5, 0, 0.5)
}
