package app

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/event"
)

// The HTTP API describes events by types of its own, for it does not know the
// package that writes them: both have the same fields, in the same form.
func TestEventsAreAsTheAPIDescribesThem(t *testing.T) {
	t.Parallel()
	alike(t, reflect.TypeFor[event.CloudEvent](), reflect.TypeFor[api.CloudEvent]())
}

func alike(t *testing.T, written, described reflect.Type) {
	t.Helper()
	if !assert.Equal(t, written.NumField(), described.NumField(), "fields of %s and %s", written, described) {
		return
	}
	for i := range written.NumField() {
		w, d := written.Field(i), described.Field(i)
		assert.Equal(t, w.Tag.Get("json"), d.Tag.Get("json"), "%s.%s", described, d.Name)
		of, is := w.Type, d.Type
		for of.Kind() == reflect.Pointer && is.Kind() == reflect.Pointer {
			of, is = of.Elem(), is.Elem()
		}
		if of.Kind() == reflect.Struct && of != is {
			alike(t, of, is)
			continue
		}
		assert.Equal(t, of, is, "%s.%s", described, d.Name)
	}
}
