package jetstream

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// What fills a subject in is one part of it, whatever it is made of.
func TestSubject(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		template string
		event    credential.Event
		want     string
	}{
		{"refreshd.{provider}.{type}", credential.Event{Provider: "acme", Type: credential.EventRefreshed}, "refreshd.acme.credential.refreshed"},
		{"a.{credential}", credential.Event{ID: "acme:alice@example.com"}, "a.acme:alice@example_com"},
		{"a.{provider}.{credential}", credential.Event{Type: credential.EventSubscriptionLagging}, "a.-.-"},
		{"{provider}", credential.Event{Provider: "a.>* b"}, "a____b"},
		{"{provider}", credential.Event{Provider: "{type}", Type: credential.EventDeleted}, "{type}"},
		{"fixed", credential.Event{Provider: "acme"}, "fixed"},
	} {
		assert.Equal(t, row.want, subjectOf(row.template, row.event))
	}
}
