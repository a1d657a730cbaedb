package server

import "strconv"

// entryFields are the names of the first entries of a list and of the members
// that are named before it is known whether they are wrong.
type entryFields struct {
	list  string
	names [16][len(entryMembers)]string
}

var (
	entryMembers = [...]string{"", ".shape", ".datatype", ".parameters", ".name", ".parameters.binary_data"}
	inputFields  = newEntryFields("body.inputs.")
	outputFields = newEntryFields("body.outputs.")
)

func newEntryFields(list string) *entryFields {
	f := &entryFields{list: list}
	for at := range f.names {
		for i, member := range entryMembers {
			f.names[at][i] = list + strconv.Itoa(at) + member
		}
	}
	return f
}

// of returns the name of a member of the entry at a place.
func (f *entryFields) of(at int, member string) string {
	if at < len(f.names) {
		for i := range entryMembers {
			if entryMembers[i] == member {
				return f.names[at][i]
			}
		}
	}
	return f.list + strconv.Itoa(at) + member
}
