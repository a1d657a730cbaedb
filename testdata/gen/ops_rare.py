"""The rarer operations for make_ops: images, losses, distributions, distances, bits of integers, lists and numbers of Python."""

IMAGES = {
    "pixel_shuffle": ("im", "return F.pixel_shuffle(im, 2)"),
    "pixel_unshuffle": ("im", "return F.pixel_unshuffle(im, 3)"),
    "channel_shuffle": ("im", "return F.channel_shuffle(im, 2)"),
    "upsample_nearest": ("im", "return F.interpolate(im, scale_factor=2.0)"),
    "upsample_nearest_size": ("im", "return F.interpolate(im, size=(4, 9))"),
    "upsample_nearest_exact": ("im", "return F.interpolate(im, size=[4, 9], mode='nearest-exact')"),
    "upsample_nearest_row": ("seq", "return F.interpolate(seq, size=11)"),
    "upsample_linear": ("seq", "return F.interpolate(seq, size=11, mode='linear', align_corners=False)"),
    "upsample_linear_corners": ("seq", "return F.interpolate(seq, scale_factor=1.5, mode='linear', align_corners=True)"),
    "upsample_bilinear": ("im", "return F.interpolate(im, scale_factor=2.0, mode='bilinear', align_corners=False)"),
    "upsample_bilinear_corners": ("im", "return F.interpolate(im, size=(4, 9), mode='bilinear', align_corners=True)"),
    "upsample_bilinear_factor": ("im", "return F.interpolate(im, scale_factor=1.7, mode='bilinear', align_corners=False)"),
    "upsample_bilinear_recompute": ("im", "return F.interpolate(im, scale_factor=1.7, mode='bilinear', align_corners=False, recompute_scale_factor=True)"),
    "upsample_bicubic": ("im", "return F.interpolate(im, size=(8, 5), mode='bicubic', align_corners=False)"),
    "upsample_bicubic_corners": ("im", "return F.interpolate(im, size=(8, 9), mode='bicubic', align_corners=True)"),
    "upsample_area": ("im", "return F.interpolate(im, size=(3, 4), mode='area')"),
    "upsample_layer": ("im", "return self.up(im)"),
    "adaptive_max_pool1d": ("seq", "return F.adaptive_max_pool1d(seq, 4)"),
    "adaptive_max_pool2d_one": ("im", "return F.adaptive_max_pool2d(im, (1, 1)).flatten(1)"),
    "image_to_columns": ("im", "return F.unfold(im, 3, padding=1, stride=2)"),
    "columns_to_image": ("im", "return F.fold(F.unfold(im, 2, stride=2), [6, 6], 2, stride=2)"),
    "columns_overlapping": ("im", "return F.fold(F.unfold(im, 3, padding=1), [6, 6], 3, padding=1)"),
    "grid_sample": ("im", "g = F.affine_grid(torch.tensor([[[0.8, 0.2, 0.1], [-0.1, 0.9, 0.0]]]).expand(im.size(0), 2, 3), [im.size(0), 4, 5, 5], False)\n        return F.grid_sample(im, g, align_corners=False)"),
    "movedim_several": ("im", "return torch.movedim(im, [1, 2], [-1, 1])"),
    "moveaxis": ("im", "return torch.moveaxis(im, 1, -1)"),
}

DISTANCES = {
    "cosine_similarity": ("x y", "return F.cosine_similarity(x, y)"),
    "cosine_similarity_dim": ("seq", "return F.cosine_similarity(seq.unsqueeze(1), seq.unsqueeze(2), dim=-1)"),
    "pairwise_distance": ("x y", "return F.pairwise_distance(x, y)"),
    "cross": ("x y", "return torch.cross(x[:, :3], y[:, :3], dim=1)"),
    "cross_linalg": ("x y", "return torch.linalg.cross(x.view(-1, 2, 3), y.view(-1, 2, 3))"),
    "cdist": ("seq", "return torch.cdist(seq, seq[:, 1:3] * 2)"),
    "cdist_one": ("seq", "return torch.cdist(seq, seq[:, 1:3] * 2, p=1.0)"),
    "tensordot": ("seq", "return torch.tensordot(seq, self.w, dims=([2], [1]))"),
    "tensordot_number": ("seq", "return torch.tensordot(seq, self.w.t(), dims=1)"),
    "chain_matmul": ("x", "return torch.linalg.multi_dot([x, self.w.t(), self.w])"),
    "mse_loss": ("x y", "return F.mse_loss(x, y, reduction='none').mean(1)"),
    "l1_loss": ("x y", "return F.l1_loss(x, y, reduction='none')"),
    "smooth_l1_loss": ("x y", "return F.smooth_l1_loss(x, y, reduction='none', beta=0.5)"),
    "huber_loss": ("x y", "return F.huber_loss(x, y, reduction='none', delta=0.7)"),
    "binary_cross_entropy": ("u x", "return F.binary_cross_entropy(u, (x > 0).float(), reduction='none')"),
    "binary_cross_entropy_logits": ("x u", "return F.binary_cross_entropy_with_logits(x, u, reduction='none')"),
    "cross_entropy": ("x ids", "return F.cross_entropy(x, ids, reduction='none')"),
    "nll_loss": ("x ids", "return F.nll_loss(F.log_softmax(x, 1), ids, reduction='none')"),
    "kl_div": ("x y", "return F.kl_div(F.log_softmax(x, 1), F.softmax(y, 1), reduction='none').sum(1)"),
    "matrix_norm": ("seq", "return torch.linalg.matrix_norm(seq)"),
    "norm_matrix": ("seq", "return torch.norm(seq, dim=[1, 2])"),
    "norm_keep": ("x", "return x / torch.norm(x, p=2, dim=-1, keepdim=True)"),
    "norm_zero": ("x", "return torch.linalg.vector_norm(torch.relu(x), 0, dim=1)"),
    "dist_norm": ("x y", "return torch.norm(x - y, p=2, dim=-1)"),
    "kron": ("x", "return x @ torch.kron(torch.eye(2), torch.ones(3, 3))"),
    "triu_indices": ("seq", "i = torch.triu_indices(5, 5, 1)\n        return (seq @ seq.transpose(1, 2))[:, i[0], i[1]]"),
    "tril_indices": ("seq", "i = torch.tril_indices(5, 5, 0)\n        return (seq @ seq.transpose(1, 2))[:, i[0], i[1]]"),
}

COUNTS = {
    "var_mean": ("x", "v, m = torch.var_mean(x, dim=1, keepdim=True)\n        return (x - m) / torch.sqrt(v + 1e-5)"),
    "var_mean_biased": ("im", "v, m = torch.var_mean(im, [2, 3], unbiased=False)\n        return v + m"),
    "std_mean": ("x", "s, m = torch.std_mean(x, 1)\n        return s - m"),
    "std_mean_correction": ("x", "s, m = torch.std_mean(x, dim=1, correction=0)\n        return s - m"),
    "cummax": ("x", "v, i = torch.cummax(x, 1)\n        return v + i"),
    "cummin": ("seq", "v, i = seq.cummin(dim=1)\n        return v + i"),
    "logcumsumexp": ("x", "return torch.logcumsumexp(x, 1)"),
    "count_nonzero": ("x", "return torch.count_nonzero(torch.relu(x), 1)"),
    "count_nonzero_image": ("im", "return torch.count_nonzero(torch.relu(im), dim=[2, 3])"),
    "diff": ("x", "return torch.diff(x)"),
    "diff_twice": ("seq", "return torch.diff(seq, n=2, dim=1)"),
    "diff_prepend": ("x", "return x.diff(dim=1, prepend=x[:, :1] * 2)"),
    "nanmean": ("x", "z = torch.where(x > 0, x, torch.full_like(x, float('nan')))\n        z[:, 0] = 1.0\n        return torch.nanmean(z, 1)"),
    "nansum": ("x", "return torch.nansum(torch.where(x > 0, x, torch.full_like(x, float('nan'))), 1)"),
    "nanmedian": ("x", "v, i = torch.nanmedian(x, 1)\n        return v"),
    "quantile": ("x", "return torch.quantile(x, 0.3, dim=1)"),
    "quantile_keep": ("x", "return x - x.quantile(0.5, 1, keepdim=True)"),
    "mode_values": ("at", "v, i = torch.mode(at, 1)\n        return v"),
    "max_whole": ("x", "return (x * 0 + 3).max(dim=1)[0]"),
    "amax_several": ("im", "return im.amax(dim=(1, 2), keepdim=True)"),
    "trapezoid": ("x", "return torch.trapezoid(x, dim=1)"),
    "trapz_dx": ("x", "return torch.trapz(x, dx=0.1)"),
    "bincount_one_hot": ("at", "return F.one_hot(at, 6).sum(1)"),
    "histogram": ("at", "return torch.zeros(at.size(0), 6).scatter_add_(1, at, torch.ones_like(at, dtype=torch.float32))"),
    "std_all_keep": ("seq", "return (seq - seq.mean((1, 2), keepdim=True)) / seq.std((1, 2), keepdim=True)"),
    "argmax_flat": ("im", "return im.flatten(1).argmax(1)"),
    "argmin_keep": ("im", "return im.argmin(dim=2, keepdim=True)"),
    "cov_like": ("seq", "c = seq - seq.mean(1, keepdim=True)\n        return c.transpose(1, 2) @ c / (seq.size(1) - 1)"),
    "softmax_temperature": ("x", "return (x / 0.7).softmax(dim=-1)"),
    "gumbel_like": ("x u", "return (x - torch.log(-torch.log(u + 1e-6) + 1e-6)).argmax(-1)"),
}

BITS = {
    "bits_and": ("at", "return at & 3"),
    "bits_or": ("at", "return at | 8"),
    "bits_xor": ("at", "return at ^ 5"),
    "bits_not": ("at", "return ~at"),
    "bits_tensors": ("at", "at = at.to(torch.uint8)\n        return torch.bitwise_and(at, at.flip(1)) + torch.bitwise_or(at, at.flip(1)).long() * 100 + torch.bitwise_xor(at, at.flip(1)).long() * 10000"),
    "bits_negative": ("at", "return (at - 3) & 6"),
    "bits_unpack": ("at", "return (at.unsqueeze(-1) >> torch.tensor([0, 1, 2])) & 1"),
    "bits_shift_tensor": ("at", "return torch.bitwise_left_shift(at, at)"),
    "gcd_like": ("at", "return at % 3 + at // 2"),
    "bool_algebra": ("x y", "return (((x > 0) & ~(y > 0)) | ((x < 0) ^ (y < 0))).int()"),
    "bool_product": ("x y", "return ((x > 0) * (y > 0)).float() + (x > 0).float() * 2"),
    "any_plain": ("x", "return x * (x[:, :1] > 0).any(1, keepdim=True)"),
    "logical_not_float": ("x", "return torch.logical_not(torch.relu(x))"),
    "isin": ("at", "return torch.isin(at, torch.tensor([1, 4]))"),
    "integer_clamp": ("at", "return at.clamp(1, 4) * 2 - 1"),
    "integer_abs_sign": ("at", "return (at - 3).abs() * torch.sign(at - 3)"),
    "integer_pow": ("at", "return at ** 2"),
    "integer_mean": ("at", "return at.float().mean(1)"),
    "integer_max": ("at", "v, i = at.max(1)\n        return v * 10 + i"),
    "int8_cast": ("at", "return (at.to(torch.int8) * 3).to(torch.int64)"),
    "uint8_scale": ("at", "return at.to(torch.uint8).float() / 255.0"),
    "int_view_table": ("at", "return F.embedding(at.view(-1), self.table).view(at.size(0), -1)"),
    "long_truncates": ("x", "return (x * 10).long()"),
    "int_divides": ("at", "return torch.div(at - 3, 2, rounding_mode='trunc') + torch.div(at - 3, 2, rounding_mode='floor') * 10"),
}

CREATED = {
    "meshgrid": ("x", "a, b = torch.meshgrid(torch.arange(2), torch.arange(3), indexing='ij')\n        return x.view(-1, 2, 3) * a + b"),
    "meshgrid_xy": ("x", "a, b = torch.meshgrid([torch.arange(3.0), torch.arange(2.0)], indexing='xy')\n        return x.view(-1, 2, 3) * a + b"),
    "meshgrid_default": ("x", "a, b = torch.meshgrid(torch.arange(2), torch.arange(3))\n        return x.view(-1, 2, 3) * a + b"),
    "new_empty": ("x", "return x.new_empty([x.size(0), 2]).fill_(0.5)"),
    "empty_filled": ("x", "z = torch.empty(x.size(0), 3, dtype=torch.float32)\n        z.zero_()\n        z[:, 1] = x[:, 0]\n        return z"),
    "full_float": ("x", "return x + torch.full([1, 6], float(x.size(1)))"),
    "full_int": ("x", "return x + torch.full((6,), 3)"),
    "full_dtype": ("x", "return torch.full((x.size(0), 2), 3, dtype=torch.long) + x[:, :2]"),
    "arange_like": ("seq", "return seq + torch.arange(seq.size(1), device=seq.device).unsqueeze(-1)"),
    "arange_dtype": ("seq", "return seq * torch.arange(6, dtype=seq.dtype)"),
    "positions_sin": ("seq", "p = torch.arange(5.0).unsqueeze(1)\n        d = torch.exp(torch.arange(0, 6, 2).float() * (-math.log(10000.0) / 6))\n        e = torch.zeros(5, 6)\n        e[:, 0::2] = torch.sin(p * d)\n        e[:, 1::2] = torch.cos(p * d)\n        return seq + e"),
    "logspace": ("x", "return x * torch.logspace(-1, 1, 6)"),
    "ones_triangle": ("seq", "m = torch.ones(5, 5).tril().to(torch.bool)\n        return (seq @ seq.transpose(1, 2)).masked_fill(~m, -1e9).softmax(-1)"),
    "square_mask": ("seq", "m = torch.full((5, 5), float('-inf')).triu(1)\n        return F.scaled_dot_product_attention(seq, seq, seq, attn_mask=m)"),
    "tensor_of_numbers": ("x", "s = [1.0, float(x.size(1))]\n        return x[:, :2] * torch.tensor(s)"),
    "as_tensor": ("x", "return x * torch.as_tensor(2.5)"),
    "zeros_type": ("x", "return torch.zeros(x.size(0), 1, dtype=torch.int64) + x.long()"),
    "rand_like_zero": ("x", "return x + torch.rand_like(x) * 0"),
    "eye_batch": ("x", "return torch.eye(6).unsqueeze(0).expand(x.size(0), 6, 6) * x.unsqueeze(-1)"),
    "block_diag": ("x", "return x @ torch.block_diag(torch.ones(2, 2), torch.eye(4))"),
    "clone_detach": ("x", "return x.clone().detach().to(x.device).to(dtype=torch.float32, copy=False)"),
    "hann": ("x", "return x * torch.hann_window(6)"),
}

INDEXED = {
    "index_negative": ("seq", "return seq[:, -2, -1]"),
    "index_negative_slice": ("seq", "return seq[:, -3:-1, ::2]"),
    "index_none_middle": ("seq", "return seq[:, None, -1, None]"),
    "index_ellipsis_none": ("im", "return im[..., None, 2][:, 1:3]"),
    "index_rows_arange": ("x ids", "return x[torch.arange(x.size(0)), ids]"),
    "index_rows_arange_unsqueezed": ("seq ids", "return seq[torch.arange(seq.size(0)), ids]"),
    "index_rows_assign": ("x ids", "z = x * 1\n        z[torch.arange(x.size(0)), ids] = 5.0\n        return z"),
    "index_table_two": ("at", "return self.w3[at[:, :2] % 4, 1]"),
    "index_bool_keep": ("x", "return torch.where((x > 0)[:, :, None], x[:, :, None], torch.zeros(1))"),
    "index_put_accumulate": ("x y", "z = x * 1\n        z[:, 2:4] += y[:, :2]\n        z[:, -1] -= 1\n        return z"),
    "assign_ellipsis": ("im", "z = im * 1\n        z[..., 0] = 1.0\n        z[:, :, 1] = im[:, :, 0]\n        return z"),
    "assign_none": ("x", "z = torch.zeros(x.size(0), 2, 6)\n        z[:, 0] = x\n        z[:, 1, 1:] = x[:, :-1]\n        return z"),
    "masked_scatter_keep": ("x", "return x.masked_fill(x.abs() < 0.3, 0.0).masked_fill_(x > 1, 1.0)"),
    "take_along_flat": ("x at", "return torch.take_along_dim(x, at.sort(1)[0], dim=1)"),
    "take_flat": ("x", "return torch.take(self.w, torch.tensor([0, 7, 23, 5, 5, 1])) * x"),
    "gather_expand": ("seq ids", "return seq.gather(1, ids.view(-1, 1, 1).expand(-1, 1, 6)).squeeze(1)"),
    "scatter_value_keyword": ("x at", "return torch.scatter(x, dim=1, index=at, value=2.0)"),
    "scatter_reduce_amax": ("x at y", "return x.scatter_reduce(1, at, y[:, :4], reduce='amax')"),
    "index_add_alpha": ("x y", "return x.index_add(1, torch.tensor([5, 1]), y[:, :2], alpha=2)"),
    "put_flat": ("x", "return torch.zeros(6).put_(torch.tensor([1, 4]), torch.tensor([2.0, 3.0])) * x"),
    "narrow_copy": ("x", "return x.narrow_copy(1, 1, 3)"),
    "unfold_windows": ("x", "return x.unfold(-1, 2, 1).mean(-1)"),
    "dsplit_like": ("seq", "a, b = torch.hsplit(seq, [2])\n        return b.sum(1) - a.sum(1)"),
    "vsplit_weights": ("x", "a, b = torch.vsplit(self.w, 2)\n        return x @ (a - b).t()"),
    "select_copy": ("seq", "return seq.select(1, 2) + seq.select(-1, 0)[:, :1]"),
    "dstack": ("x y", "return torch.dstack([x, y])"),
    "concat_three": ("x y u", "return torch.concat([x, y.abs(), u], dim=-1)"),
    "unsafe_chunk": ("x", "a, b, c = torch.chunk(x, 3, dim=1)\n        return torch.stack((a, b, c)).sum(0)"),
    "squeeze_several": ("x", "return x[:, None, :, None].squeeze(-1).squeeze(1)"),
    "atleast_3d": ("x", "return torch.atleast_3d(x)"),
    "expand_rows": ("x", "return self.g.unsqueeze(0).expand(x.shape[0], -1) * x"),
    "repeat_rows": ("x", "return torch.cat([x, self.b.repeat(x.size(0), 1)], dim=1)"),
    "flip_two": ("im", "return im.flip(-1, -2)"),
    "triu_mask": ("seq", "return torch.where(torch.triu(torch.ones(5, 6), 1) == 1, seq, -seq)"),
    "einsum_heads": ("seq", "q = seq.view(-1, 5, 2, 3)\n        return torch.einsum('bqhd,bkhd->bhqk', q, q)"),
    "einsum_three": ("x y", "return torch.einsum('bi,oi,bj->boj', x, self.w, y)"),
    "einsum_ellipsis": ("seq", "return torch.einsum('...i,oi->...o', seq, self.w)"),
    "einsum_implicit": ("x", "return torch.einsum('bi,ji', x, self.w)"),
    "einsum_sum": ("seq", "return torch.einsum('bij->b', seq)"),
}

DISTRIBUTIONS = {
    "normal_log_prob": ("x y u", "s = u + 0.3\n        return (-((y - x) ** 2) / (2 * s ** 2) - s.log() - math.log(math.sqrt(2 * math.pi))).sum(-1)"),
    "normal_entropy": ("u", "return (0.5 + 0.5 * math.log(2 * math.pi) + torch.log(u + 0.1)).sum(dim=-1)"),
    "normal_rsample_zero": ("x", "return x + torch.randn_like(x) * 0.0"),
    "normal_cdf": ("x", "return 0.5 * (1 + torch.erf(x / math.sqrt(2)))"),
    "tanh_log_prob": ("x", "return (2 * (math.log(2) - x - F.softplus(-2 * x))).sum(-1, keepdim=True)"),
    "categorical_log_prob": ("x ids", "l = x - x.logsumexp(dim=-1, keepdim=True)\n        return l.gather(-1, ids.long().unsqueeze(-1)).squeeze(-1)"),
    "categorical_entropy": ("x", "l = x - x.logsumexp(dim=-1, keepdim=True)\n        p = F.softmax(l, dim=-1)\n        return -(torch.clamp(l, min=-3.4e38) * p).sum(-1)"),
    "categorical_probs": ("x", "p = torch.softmax(x, -1)\n        p = p / p.sum(-1, keepdim=True)\n        return torch.log(p.clamp(1.1920929e-07, 1 - 1.1920929e-07))"),
    "categorical_mask": ("x y", "l = torch.where(y > 0, x, torch.tensor(-1e8))\n        return l - torch.logsumexp(l, -1, True)"),
    "bernoulli_mode": ("x", "return (torch.sigmoid(x) > 0.5).float()"),
    "multi_discrete": ("x", "parts: List[Tensor] = []\n        for l in torch.split(x, [2, 1, 3], dim=1):\n            parts.append(torch.argmax(l, dim=1))\n        return torch.stack(parts, dim=1)"),
    "beta_mean": ("x y", "a, b = F.softplus(x) + 1, F.softplus(y) + 1\n        return a / (a + b)"),
    "beta_log": ("u x y", "a, b = F.softplus(x) + 1, F.softplus(y) + 1\n        v = u * 0.9 + 0.05\n        return (a - 1) * v.log() + (b - 1) * torch.log1p(-v) + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)"),
    "logsumexp_two": ("im", "return torch.logsumexp(im, (1, 2))"),
    "multinomial_certain": ("ids", "return torch.multinomial(F.one_hot(ids, 4).float(), 1)"),
    "mixture": ("x y", "w = torch.softmax(x.view(-1, 2, 3)[:, 0], -1)\n        return (w * y.view(-1, 2, 3).tanh().sum(1)).sum(-1)"),
    "c51_value": ("x", "p = x.view(-1, 2, 3).softmax(-1)\n        return (p * torch.linspace(-1, 1, 3)).sum(-1).argmax(-1)"),
    "dueling": ("x y", "return x[:, :1] + y - y.mean(dim=1, keepdim=True)"),
    "clamped_normalise": ("x", "return torch.clamp((x - self.g) / torch.sqrt(self.h.abs() + 1e-5), min=-5.0, max=5.0)"),
    "symlog": ("x", "return torch.sign(x) * torch.log1p(torch.abs(x))"),
    "two_hot": ("x", "return torch.bucketize(x.clamp(-1, 1), torch.linspace(-1, 1, 5), right=True)"),
    "quaternion": ("x y", "q = x[:, :4] / torch.norm(x[:, :4], p=2.0, dim=-1, keepdim=True)\n        w, v = q[:, 3:], q[:, :3]\n        t = y[:, :3]\n        a = t * (2.0 * w ** 2 - 1.0)\n        b = torch.cross(v, t, dim=-1) * w * 2.0\n        c = v * torch.bmm(v.view(-1, 1, 3), t.view(-1, 3, 1)).squeeze(-1) * 2.0\n        return a - b + c"),
    "wrap_angle": ("x", "return torch.remainder(x * 4 + math.pi, 2 * math.pi) - math.pi"),
    "fourier": ("x", "f = 2.0 ** torch.arange(3)\n        z = x.unsqueeze(-1) * f * math.pi\n        return torch.cat([z.sin(), z.cos()], -1).flatten(1)"),
}

PYTHON = {
    "default_arguments": ("x", "return self.scaled(x) + self.scaled(x, 3.0) + self.scaled(x, shift=1.0)"),
    "named_tuple": ("x", "p = self.pair(x)\n        return p.first - p.second * p[0]"),
    "tuple_index": ("x", "t = (x, x * 2, 3)\n        return t[0] + t[1] * t[2] + t[-2]"),
    "dict_loop": ("x y", "d: Dict[str, Tensor] = {'b': x, 'a': y}\n        d['c'] = x * y\n        out = torch.zeros_like(x)\n        for k, v in d.items():\n            if k != 'a':\n                out = out * 2 + v\n        return out + len(d) + d.pop('a')"),
    "dict_get": ("x", "d = {'a': x}\n        if 'b' in d:\n            return d['b']\n        return d['a'] * 2"),
    "list_comprehension": ("x", "return torch.stack([x * i for i in range(3)], 1).sum(1)"),
    "list_sizes": ("x", "sizes = [2, 4]\n        parts = x.split(sizes, dim=1)\n        return torch.cat([parts[1], parts[0]], 1)"),
    "enumerate_zip": ("x", "out = x\n        for i, (a, b) in enumerate(zip([1.0, 2.0], [3.0, 4.0])):\n            out = out * a + b * i\n        return out"),
    "module_list": ("x", "for i, layer in enumerate(self.stack_):\n            x = layer(x) if i < 1 else torch.tanh(layer(x))\n        return x"),
    "module_list_slice": ("x", "for layer in self.stack_[1:]:\n            x = layer(x)\n        return x"),
    "module_dict": ("x", "out = x\n        for name, head in self.heads_.items():\n            out = out + head(x) * (2.0 if name == 'b' else 1.0)\n        return out"),
    "sequential_loop": ("x", "for layer in self.seq_:\n            x = layer(x)\n        return x"),
    "submodule_constant": ("x", "return x * self.seq_[0].in_features + self.stack_[0].out_features"),
    "string_format": ("x", "name = 'layer{}'.format(1)\n        if name == 'layer1':\n            return x + 1\n        return x"),
    "f_string": ("x", "name = f'w{2}'\n        return x * len(name)"),
    "assert_shape": ("x", "assert x.shape[1] == 6, 'width'\n        assert x.dim() == 2\n        return x"),
    "ternary": ("x", "y = x if x.size(1) > 10 else -x\n        return y if self.flag else x"),
    "optional_list": ("x", "outs: List[Optional[Tensor]] = [None, x]\n        o = outs[1]\n        assert o is not None\n        return o"),
    "optional_default": ("x", "return self.masked(x) + self.masked(x, x > 0)"),
    "nested_function": ("x", "return helper(x, 2) + helper(x)"),
    "numbers": ("x", "a, b = 7, 2.5\n        c = a // 2 + a % 4 - abs(-3) + min(a, 2) + max(1.5, b) + round(2.6) + int(b) + float(a) / 2 + math.sqrt(4.0) + math.pow(2.0, 3.0) + math.floor(2.7) + a ** 2\n        return x * c"),
    "number_bits": ("x", "a = (5 & 3) + (5 | 8) + (5 ^ 1) + (1 << 4) + (64 >> 2)\n        return x + a"),
    "list_functions": ("x", "l = [3, 1, 2]\n        l.sort()\n        l.reverse()\n        l.append(7)\n        l.insert(0, 9)\n        l += [4]\n        return x * l[0] + l[-1] + sum(l) + len(l) + max(l) + l.index(2) + l[1:3][0]"),
    "while_numbers": ("x", "n, k = 10, 0\n        while n > 1:\n            n = n // 2 if n % 2 == 0 else 3 * n + 1\n            k += 1\n            if k > 20:\n                break\n        return x * k"),
    "for_tensor": ("seq", "h = torch.zeros(seq.size(0), 6)\n        for step in seq.unbind(1):\n            h = torch.tanh(h + step)\n        return h"),
    "for_size": ("seq", "h = seq[:, 0]\n        for t in range(1, seq.size(1)):\n            h = 0.5 * h + seq[:, t]\n        return h"),
    "for_reversed": ("seq", "h = torch.zeros_like(seq[:, 0])\n        for t in range(seq.size(1) - 1, -1, -1):\n            h = h * 0.9 + seq[:, t]\n        return h"),
    "is_none": ("x", "y: Optional[Tensor] = None\n        if y is None:\n            y = x * 2\n        return y"),
    "shape_tuple": ("im", "b, c, h, w = im.shape\n        return im.view(b, c, h * w).mean(-1)"),
    "shape_product": ("im", "n = 1\n        for d in im.shape[1:]:\n            n *= d\n        return im.reshape(im.shape[0], n)[:, :3]"),
    "shape_list": ("seq", "lead = list(seq.shape[:-1])\n        return torch.zeros(lead + [2]) + seq[..., :2]"),
    "prod_of_shape": ("im", "return im.reshape([-1, im.size(1) * im.size(2) * im.size(3)])"),
    "device_dtype": ("x", "if x.device.type == 'cpu' and x.dtype == torch.float32 and not x.is_cuda:\n            return x + 1\n        return x"),
    "numel_ndim": ("x", "return x * x.ndim + float(x[0].numel())"),
    "inplace_chain": ("x", "z = x.clone()\n        z.add_(1.0).mul_(2).clamp_(-1, 2).neg_().sub_(x, alpha=0.5).div_(3.0).pow_(2).sqrt_()\n        return z"),
    "inplace_more": ("x y", "z = x.clone()\n        z.copy_(y)\n        z.addcmul_(x, y, value=0.1).lerp_(x, 0.5).tanh_().exp_().abs_().masked_fill_(x > 1, 0.0).squeeze_()\n        return z.view(-1, 6)"),
    "out_shadow": ("x", "out = x\n        out *= 2\n        out -= 1\n        out /= 4\n        return out"),
    "isinstance_choice": ("x", "y: Optional[Tensor] = x\n        if isinstance(y, Tensor):\n            return y * 2\n        return x"),
    "string_list": ("x", "out = x\n        for m in ['tanh', 'relu', 'none']:\n            if m == 'tanh':\n                out = torch.tanh(out)\n            elif m == 'relu':\n                out = torch.relu(out)\n        return out"),
    "no_grad": ("x", "with torch.no_grad():\n            y = x * 2\n        return y.detach()"),
    "try_annotations": ("x", "v = torch.jit.annotate(List[Tensor], [])\n        v.append(x)\n        v.extend([x * 2, x * 3])\n        return torch.cat(v, -1)"),
    "enum_choice": ("x", "if self.kind == Kind.SQUASH:\n            return torch.tanh(x)\n        return x"),
    "dataclass_object": ("x", "box = Box(2.0)\n        box.grow(3.0)\n        return x * box.size"),
    "math_constants": ("x", "return x * math.pi + math.e"),
    "ravel_rows": ("seq", "return seq.flatten(0, 1).view(-1, 5, 6).transpose(0, 1)[0]"),
    "tolist_sizes": ("x", "n = torch.tensor([1, 2, 3]).sum().item()\n        return x * n"),
    "item_of_buffer": ("x", "return x * float(self.g[0]) + int(self.w.argmax())"),
    "early_continue": ("x", "total = torch.zeros_like(x)\n        for i in range(5):\n            if i % 2 == 1:\n                continue\n            total += x * i\n        return total"),
    "recursive_choice": ("x y", "return torch.where(x > 0, torch.where(y > 0, x, y), torch.where(y > 0, -x, -y))"),
    "complex_free": ("x", "re, im = x[:, :3], x[:, 3:]\n        return torch.sqrt(re * re + im * im) + torch.atan2(im, re)"),
}

LAYERS = {
    "multi_head_batch_second": ("seq", "y, w = self.heads_first(seq.transpose(0, 1), seq.transpose(0, 1), seq.transpose(0, 1))\n        assert w is not None\n        return y.transpose(0, 1) + w.sum(1).unsqueeze(-1)"),
    "multi_head_padding": ("seq at", "return self.heads(seq, seq, seq, key_padding_mask=torch.cat([at > 3, at[:, :1] > 9], 1))[0]"),
    "decoder_layer": ("seq", "return self.decoder(seq[:, :2], seq)"),
    "transformer_encoder": ("seq", "return self.encoders(seq)"),
    "gru_steps": ("seq", "h = torch.zeros(2, seq.size(0), 4)\n        y, h = self.gru(seq.transpose(0, 1), h)\n        return y[-1]"),
    "lstm_last": ("seq", "y, _ = self.lstm(seq)\n        return y[:, -1]"),
    "batch_norm_layer": ("x", "return self.bn(x)"),
    "layer_norm_layer": ("seq", "return self.ln(seq)"),
    "group_norm_layer": ("im", "return self.gn(im)"),
    "instance_norm_layer": ("im", "return self.inorm(im)"),
    "conv_stack": ("im", "return self.cnn(im)"),
    "conv3d": ("im", "return F.conv3d(im.unsqueeze(1), self.k3, None, padding=1)"),
    "parameter_list": ("x", "out = x\n        for p in self.params_:\n            out = out * p\n        return out"),
    "prelu_layer": ("x", "return self.prelu_(x)"),
    "activations": ("x", "return self.acts(x)"),
    "dropout_layers": ("im", "return self.drops(im)"),
    "identity_layers": ("im", "return self.idle(im)"),
    "padding_layers": ("im", "return self.pads(im)"),
    "bilinear_layer": ("x y", "return self.bil(x, y)"),
    "noisy_linear": ("x", "return F.linear(x, self.w + self.w * 0, self.b)"),
    "film": ("im x", "g, b = torch.chunk(F.linear(x, self.film_w), 2, dim=1)\n        return im * (1 + g[:, :, None, None]) + b[:, :, None, None]"),
    "spatial_softmax": ("im", "p = torch.softmax(im.flatten(2), -1)\n        i = torch.linspace(-1, 1, 6)\n        gy, gx = torch.meshgrid(i, i, indexing='ij')\n        return torch.cat([(p * gx.reshape(-1)).sum(-1), (p * gy.reshape(-1)).sum(-1)], 1)"),
    "local_attention": ("seq", "s = seq @ seq.transpose(-1, -2) / math.sqrt(6.0)\n        s = s + torch.tril(torch.ones(5, 5)).log()\n        return torch.softmax(s, -1) @ seq"),
    "cosine_embedding": ("u", "i = torch.arange(1, 5).float() * math.pi\n        return torch.cos(u.unsqueeze(-1) * i).view(-1, 24)"),
}

OPS = {**IMAGES, **DISTANCES, **COUNTS, **BITS, **CREATED, **INDEXED, **DISTRIBUTIONS, **PYTHON, **LAYERS}

HEAD = '''
import math
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    PLAIN = 0
    SQUASH = 1


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@torch.jit.script
class Box:
    def __init__(self, size: float):
        self.size = size

    def grow(self, by: float):
        self.size = self.size * by


def helper(x: Tensor, times: int = 3) -> Tensor:
    return x * times


class Rare(Ops):
    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(11)
        self.register_buffer("k3", torch.rand(2, 1, 3, 3, 3, generator=g) - 0.5)
        self.register_buffer("film_w", torch.rand(8, 6, generator=g) - 0.5)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.stack_ = nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])
        self.heads_ = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 6)})
        self.seq_ = nn.Sequential(nn.Linear(6, 6), nn.ELU(), nn.Linear(6, 6))
        self.kind = Kind.SQUASH
        self.heads_first = nn.MultiheadAttention(6, 2)
        self.decoder = nn.TransformerDecoderLayer(6, 2, 8, batch_first=True)
        self.encoders = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2)
        self.bn, self.ln, self.gn, self.inorm = nn.BatchNorm1d(6), nn.LayerNorm(6), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)
        self.cnn = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 2), nn.Flatten(), nn.Linear(16, 3))
        self.params_ = nn.ParameterList([nn.Parameter(torch.rand(6, generator=g)) for _ in range(2)])
        self.prelu_ = nn.PReLU(6)
        self.acts = nn.Sequential(nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Softplus(), nn.LeakyReLU(), nn.CELU(), nn.LogSigmoid(), nn.Softsign(), nn.Hardtanh(), nn.Tanhshrink(), nn.Hardshrink(0.001), nn.Softshrink(0.001), nn.ReLU6(), nn.Threshold(0.1, 0.2), nn.Sigmoid())
        self.drops = nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout())
        self.idle = nn.Sequential(nn.Identity(), nn.Unflatten(1, (2, 2)), nn.Flatten(1, 2))
        self.pads = nn.Sequential(nn.ZeroPad2d(1), nn.ReflectionPad2d((1, 0, 2, 1)), nn.ReplicationPad2d(1), nn.ConstantPad2d(1, 0.5))
        self.bil = nn.Bilinear(6, 6, 3)

    def scaled(self, x: Tensor, by: float = 2.0, shift: float = 0.5) -> Tensor:
        return x * by + shift

    def masked(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        if mask is not None:
            x = x * mask
        return x

    def pair(self, x: Tensor) -> Pair:
        return Pair(x + 1, second=x * 2)
'''
