package statuspage

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
)

var templates = template.Must(template.New("").Funcs(template.FuncMap{"pass": pass}).ParseFS(files, "templates/*.html"))

// pass gives a template more than one value: names and values in turn.
func pass(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("pass: a name without a value")
	}
	out := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("pass: %v is not a name", pairs[i])
		}
		out[name] = pairs[i+1]
	}
	return out, nil
}

// Render writes the whole page. It writes nothing if it fails.
func Render(w io.Writer, v View) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page.html", newDocument(v)); err != nil {
		return fmt.Errorf("render the status page: %w", err)
	}
	_, err := b.WriteTo(w)
	return err
}
