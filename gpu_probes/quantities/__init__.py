"""What is measured about inputs, activations, gradients, losses, parameters and updates.

One recorder per quantity. A recorder is fed while the script runs and asked once at the end; it
never changes the script's numbers, its random state or its graph, keeps sums instead of batches,
and leaves those sums on the device until its ``results`` are read.

=================================  ================================================================
``inputs.InputRecorder()``         ``observe(model_name, input_name, tensor, place,
                                   normalized_inside="", *, batch=None)``, ``results()``,
                                   ``batches()``
``activations.ActivationRecorder`` ``observe(name, cls, kind, depth, tensor_in, tensor_out, place,
                                   inside="", *, dim=None)``, ``results()``
``gradient_flow.                   ``forward(name, cls, depth, output, place)``,
GradientFlowRecorder()``           ``results(model_name, weights)``, attribute ``active``
``initial_loss.LossRecorder()``    ``observe(function, input, target, arguments, place, result)``,
                                   ``results()``
``parameters.                      ``after_backward(parameters, leaf_ids, optimized_ids,
ParameterRecorder()``              gradients=None)`` with ``parameters`` a sequence of
                                   ``TrackedParameter(name, tensor, module, cls, depth, place,
                                   registered)``; ``results()``, ``weights_by_module()``
``updates.UpdateRecorder(          ``before_step(optimizer, optimizer_id)``,
describe)``                        ``after_step(optimizer)``, ``results()``; ``describe(tensor)``
                                   gives ``(name, place)``
``gradient_history.                ``observe(parameters)``: global norm, a 0-d device tensor;
GradientHistoryRecorder(           ``stepped()``, ``results()``
describe)``
``non_finite.                      ``check(what, name, tensor, phase, step, place=None)``,
NonFiniteDetector()``              ``results()``, attribute ``found``
=================================  ================================================================
"""
