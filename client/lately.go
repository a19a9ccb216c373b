package client

import "container/list"

// lately remembers a value for each of the keys that were set last, up to a
// number of them. It is not for concurrent use.
type lately[V any] struct {
	most  int
	byKey map[string]*list.Element
	order *list.List // of entry[V], the one set last in front
}

type entry[V any] struct {
	key   string
	value V
}

func newLately[V any](most int) *lately[V] {
	return &lately[V]{most: most, byKey: map[string]*list.Element{}, order: list.New()}
}

// get returns the value that was set for key, or the zero value.
func (l *lately[V]) get(key string) V {
	if at, ok := l.byKey[key]; ok {
		if e, ok := at.Value.(entry[V]); ok {
			return e.value
		}
	}
	var none V
	return none
}

// set remembers the value and forgets the key that was not set for longest,
// where there is no room for both.
func (l *lately[V]) set(key string, value V) {
	if at, ok := l.byKey[key]; ok {
		at.Value = entry[V]{key, value}
		l.order.MoveToFront(at)
		return
	}
	if l.order.Len() >= l.most {
		if e, ok := l.order.Remove(l.order.Back()).(entry[V]); ok {
			delete(l.byKey, e.key)
		}
	}
	l.byKey[key] = l.order.PushFront(entry[V]{key, value})
}
