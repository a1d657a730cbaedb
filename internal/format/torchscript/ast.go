package torchscript

import "strings"

// sourceFile is one parsed code file.
type sourceFile struct {
	name    string // member name without the archive's stem
	classes []*classDef
	funcs   []*funcDef
	samples bool // it names a function that draws random numbers
}

// classDef is a class: a module, a named tuple or a class of the user.
type classDef struct {
	pos     Position
	name    string // qualified: __torch__.pkg.Class
	base    string // Module, NamedTuple, Enum, Interface or empty
	fields  []field
	methods map[string]*funcDef
	order   []string // method names in the order of the file
}

// field is a declared attribute of a class. A constant has its value here, for
// it is not in the data of the object.
type field struct {
	name  string
	typ   expr // may be nil
	value expr // may be nil
}

// funcDef is a function or method.
type funcDef struct {
	pos    Position
	name   string
	params []param
	result expr // may be nil
	body   []stmt
}

// param is one parameter; those of methods include self.
type param struct {
	name string
	typ  expr // may be nil
	def  expr // default value; may be nil
}

// stmt is a statement.
type stmt interface{ stmtPos() Position }

type (
	// assignStmt is `a = v`, `a, b, = v` or `a, b = v, w`.
	assignStmt struct {
		pos     Position
		targets []expr // names, attributes or subscripts
		unpack  bool   // a single value is unpacked into the targets
		values  []expr
	}
	augAssignStmt struct {
		pos    Position
		target expr
		op     string // without the =
		value  expr
	}
	exprStmt struct {
		pos Position
		x   expr
	}
	ifStmt struct {
		pos        Position
		cond       expr
		then, alts []stmt
	}
	whileStmt struct {
		pos  Position
		cond expr
		body []stmt
	}
	withStmt struct {
		pos  Position
		x    expr
		as   string // empty without a name
		body []stmt
	}
	forStmt struct {
		pos     Position
		targets []expr
		unpack  bool
		iter    expr
		body    []stmt
	}
	returnStmt struct {
		pos   Position
		value expr // nil for a bare return
	}
	raiseStmt struct {
		pos   Position
		value expr
	}
	assertStmt struct {
		pos       Position
		cond, msg expr
	}
	passStmt     struct{ pos Position }
	breakStmt    struct{ pos Position }
	continueStmt struct{ pos Position }
)

func (s *assignStmt) stmtPos() Position    { return s.pos }
func (s *augAssignStmt) stmtPos() Position { return s.pos }
func (s *exprStmt) stmtPos() Position      { return s.pos }
func (s *ifStmt) stmtPos() Position        { return s.pos }
func (s *whileStmt) stmtPos() Position     { return s.pos }
func (s *withStmt) stmtPos() Position      { return s.pos }
func (s *forStmt) stmtPos() Position       { return s.pos }
func (s *returnStmt) stmtPos() Position    { return s.pos }
func (s *raiseStmt) stmtPos() Position     { return s.pos }
func (s *assertStmt) stmtPos() Position    { return s.pos }
func (s *passStmt) stmtPos() Position      { return s.pos }
func (s *breakStmt) stmtPos() Position     { return s.pos }
func (s *continueStmt) stmtPos() Position  { return s.pos }

// expr is an expression. Types are expressions too.
type expr interface{ exprPos() Position }

type (
	nameExpr struct {
		pos  Position
		name string
	}
	// litExpr is a number, a string, True, False or None, already a value.
	litExpr struct {
		pos Position
		val value
	}
	attrExpr struct {
		pos  Position
		x    expr
		name string
	}
	indexExpr struct {
		pos Position
		x   expr
		idx []expr // several in a type such as Tuple[int, int]
	}
	callExpr struct {
		pos  Position
		fn   expr
		args []expr
		kws  []keyword
	}
	listExpr struct {
		pos   Position
		elems []expr
	}
	tupleExpr struct {
		pos   Position
		elems []expr
	}
	dictExpr struct {
		pos        Position
		keys, vals []expr
	}
	unaryExpr struct {
		pos Position
		op  string // - + ~ not
		x   expr
	}
	binaryExpr struct {
		pos  Position
		op   string // arithmetic, comparison, in, not in, is, is not, and, or
		x, y expr
	}
	condExpr struct {
		pos           Position
		cond, then, y expr
	}
)

// keyword is a keyword argument.
type keyword struct {
	name string
	val  expr
}

func (e *nameExpr) exprPos() Position   { return e.pos }
func (e *litExpr) exprPos() Position    { return e.pos }
func (e *attrExpr) exprPos() Position   { return e.pos }
func (e *indexExpr) exprPos() Position  { return e.pos }
func (e *callExpr) exprPos() Position   { return e.pos }
func (e *listExpr) exprPos() Position   { return e.pos }
func (e *tupleExpr) exprPos() Position  { return e.pos }
func (e *dictExpr) exprPos() Position   { return e.pos }
func (e *unaryExpr) exprPos() Position  { return e.pos }
func (e *binaryExpr) exprPos() Position { return e.pos }
func (e *condExpr) exprPos() Position   { return e.pos }

// dotted returns the name of a chain of attributes such as torch.nn.x, and
// whether e is one.
func dotted(e expr) (string, bool) {
	switch e := e.(type) {
	case *nameExpr:
		return e.name, true
	case *attrExpr:
		left, ok := dotted(e.x)
		return left + "." + e.name, ok
	}
	return "", false
}

// typeName prints a type: Optional[Tensor], Dict[str, Tensor].
func typeName(e expr) string {
	switch e := e.(type) {
	case nil:
		return "Tensor"
	case *indexExpr:
		parts := make([]string, len(e.idx))
		for i, x := range e.idx {
			parts[i] = typeName(x)
		}
		return typeName(e.x) + "[" + strings.Join(parts, ", ") + "]"
	case *litExpr:
		if e.val == nil {
			return "NoneType"
		}
		return "?"
	case *tupleExpr:
		return "()"
	}
	s, ok := dotted(e)
	if !ok {
		return "?"
	}
	return s
}
