// Package console holds the page that shows a server to a person: what it
// serves, how it does, what its actions are, a form to try an observation and a
// drive. What leaves are its files, as they are embedded; it imports nothing of
// ours and knows no protocol. The page is written by hand in HTML, CSS and ES
// modules: nothing builds it, and it asks for nothing but the routes of the
// server that it came from.
package console

import (
	"embed"
	"io/fs"
	"path"
)

//go:embed page
var files embed.FS

// Index is the name of the page itself among the files.
const Index = "index.html"

// File is a file of the page.
type File struct {
	Name      string // without a folder: the page has none
	MediaType string
	Body      []byte
}

// mediaTypes are those of the files, by the end of their names.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// Files returns the files of the page in the order of their names.
func Files() []File {
	const folder = "page"
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		panic(err) // The folder is embedded.
	}
	var list []File
	for _, e := range entries {
		body, err := files.ReadFile(path.Join(folder, e.Name()))
		if err != nil {
			panic(err) // As above.
		}
		list = append(list, File{Name: e.Name(), MediaType: mediaTypes[path.Ext(e.Name())], Body: body})
	}
	return list
}
