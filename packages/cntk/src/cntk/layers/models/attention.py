"""Attention of a decoder to an encoder's states."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...default_options import default_override_or, get_default_override
from ...initializer import glorot_uniform
from ...ops import sequence
from ...ops.functions import Function
from ...ops.tracing import trace
from ..blocks import Stabilizer, with_name
from ..layers import Dense, Label
from ..sequence import PastValueWindow

_INIT = default_override_or(glorot_uniform())
_OFF = default_override_or(False)
_ON = default_override_or(True)
_NEVER = -1e30  # the logit of what is not there
_SELDOM = 50  # what the fixed window takes off instead


def AttentionModel(
    attention_dim: int,
    attention_span: int | None = None,
    attention_axis: int | None = None,
    init: Any = _INIT,
    go_backwards: Any = _OFF,
    enable_self_stabilization: Any = _ON,
    name: str = "",
) -> Function:
    """(encoder states, decoder state) -> their mean, weighted by a small network's scores.

    With an attention span the last states of a window of that size are looked at, else all of them.
    """
    init = get_default_override(AttentionModel, init=init)
    backwards = get_default_override(AttentionModel, go_backwards=go_backwards)
    stable = get_default_override(AttentionModel, enable_self_stabilization=enable_self_stabilization)
    if attention_span is None:
        if attention_axis is not None:
            raise ValueError("attention_span cannot be None when attention_axis is not None")
    elif attention_span <= 0:
        raise ValueError("attention_span must be a positive integer")
    axis = -3 if attention_axis is None else attention_axis

    def projection(size: int) -> Any:
        scale = Stabilizer(enable_self_stabilization=stable)
        return scale >> Dense(size, init=init, input_rank=1, bias=False)

    of_encoder, of_decoder, to_score = projection(attention_dim), projection(attention_dim), projection(1)
    finally_ = Stabilizer(enable_self_stabilization=stable)

    def over_everything(encoder_hidden_state: Any, decoder_hidden_state: Any) -> Any:
        states, valid = sequence.unpack(encoder_hidden_state, padding_value=0).outputs
        projected = sequence.broadcast_as(of_encoder(states), decoder_hidden_state)
        there = sequence.broadcast_as(ops.reshape(valid, (1,), 1), decoder_hidden_state)
        scores = to_score(ops.tanh(of_decoder(decoder_hidden_state) + projected))
        weights = ops.softmax(ops.element_select(there, scores, ops.constant(_NEVER)), axis=0)
        weights = Label("attention_weights")(weights)
        mean = ops.reduce_sum(weights * sequence.broadcast_as(states, weights), axis=0)
        return finally_(ops.reshape(mean, (), 0, 1))

    def over_window(h_enc: Any, h_dec: Any) -> Any:
        window, valid = PastValueWindow(attention_span or 0, axis=axis, go_backwards=backwards)(h_enc).outputs
        projected = sequence.broadcast_as(of_encoder(window), h_dec)
        there = sequence.broadcast_as(valid, h_dec)
        states = sequence.broadcast_as(window, h_dec)
        scores = to_score(ops.tanh(of_decoder(h_dec) + projected)) + (there - 1) * _SELDOM
        weights = Label("attention_weights")(ops.softmax(scores, axis=axis))
        return finally_(ops.reduce_sum(ops.element_times(states, weights), axis=axis))

    attention: Function = trace(over_everything if attention_span is None else over_window)
    made: Function = with_name(attention, name)
    return made
