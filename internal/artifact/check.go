package artifact

// Check opens the folder or single file at an operating system path and
// returns everything that is wrong with it, and the notes of what is unusual.
func Check(name string, l Limits) (problems []Problem, notes []string) {
	a, problems := openPath(name, Files{}, l)
	if a != nil {
		notes = a.Notes
	}
	return problems, notes
}
