package ceiling

//go:noescape
func fmaNEON(rounds int)

//go:noescape
func readNEON(p *byte, n int)

func fmaForms() []fmaForm { return []fmaForm{{"NEON", 24 * 4 * 2, fmaNEON}} }

func readForms() []readForm { return []readForm{{"NEON", readStep, readNEON}} }
