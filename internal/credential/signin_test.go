package credential_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestUserDataEqual(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string
		want bool
	}{
		"the same":            {`{"a":1}`, `{"a":1}`, true},
		"none":                {``, ``, true},
		"none and null":       {``, `null`, false},
		"space":               {`{"a": [1, 2]}`, "{\n\"a\":[1,2]}", true},
		"another order":       {`{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"d":3,"c":2},"a":1}`, true},
		"a list's order":      {`[1,2]`, `[2,1]`, false},
		"escapes":             {`"\u00e9"`, `"é"`, true},
		"another value":       {`{"a":1}`, `{"a":2}`, false},
		"one more":            {`{"a":1}`, `{"a":1,"b":2}`, false},
		"a long number":       {`12345678901234567890`, `12345678901234567891`, false},
		"number and string":   {`1`, `"1"`, false},
		"something behind it": {`{"a":1} x`, `{"a":1}`, false},
		"no JSON, the same":   {`<html>`, `<html>`, true},
		"no JSON":             {`<html>`, `<HTML>`, false},
	} {
		a, b := credential.UserData(c.a), credential.UserData(c.b)
		assert.Equal(t, c.want, a.Equal(b), name)
		assert.Equal(t, c.want, b.Equal(a), name)
	}
}

func TestSignInIsNotShown(t *testing.T) {
	t.Parallel()
	h := credential.Held{SignIn: signIn("PW-canary"), UserData: credential.UserData(`"UD-canary"`)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		shown := fmt.Sprintf(verb, h.SignIn) + fmt.Sprintf(verb, h.UserData)
		assert.NotContains(t, shown, "canary", verb)
		assert.NotContains(t, shown, "alice@", verb)
	}
	assert.False(t, h.SignIn.IsZero())
	assert.True(t, credential.SignIn{}.IsZero())
}
