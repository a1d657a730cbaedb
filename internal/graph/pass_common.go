package graph

import (
	"fmt"
	"strings"
)

// maxSharedOperands bounds the length of what nodes are compared by.
const maxSharedOperands = 64

// shareCommon lets nodes that have the same operator, attributes and operands
// be one. Two constants are the same where they share their tensor, or are
// short and equal. Random draws differ by their stream. It is exact.
func shareCommon(g *Graph) (bool, error) {
	seen := map[string]*Value{}
	tensors := map[*Tensor]string{}
	return rewrite(g, func(_ *rewriter, n *Node) (*Value, error) {
		if len(n.In) > maxSharedOperands || len(n.Graphs()) > 0 {
			return nil, nil
		}
		var key strings.Builder
		key.WriteString(string(n.Op))
		for _, a := range specs[n.Op].attrs {
			if v, ok := n.Attrs[a.name]; ok {
				fmt.Fprintf(&key, " %s=%s", a.name, a.kind.format(v))
			}
		}
		for _, v := range n.In {
			if v.Const == nil {
				fmt.Fprintf(&key, " %%%d", v.ID)
				continue
			}
			if _, ok := tensors[v.Const]; !ok {
				tensors[v.Const] = fmt.Sprintf(" const%d", len(tensors))
				if v.Const.Len() <= maxInlineElements {
					tensors[v.Const] = fmt.Sprintf(" %v%v%s", v.DType, v.Shape, v.Const.text())
				}
			}
			key.WriteString(tensors[v.Const])
		}
		if v, ok := seen[key.String()]; ok {
			return v, nil
		}
		seen[key.String()] = n.Out[0]
		return nil, nil
	})
}
