"""Calls into the project: evaluating arguments, binding them, walking functions."""

from __future__ import annotations

import ast

from convlint.program.access import something
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Choice,
    Class,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    Library,
    LibraryMethod,
    Map,
    Partial,
    Scope,
    Seq,
    Site,
    Super,
    Tensor,
    Unknown,
)
from convlint.program.drafts import ArmDraft, BranchDraft, LoopDraft, NodeDraft
from convlint.program.expressions import Expressions
from convlint.program.facts import ObjectKind, Origin
from convlint.program.namespaces import is_namespace
from convlint.program.syntax import keyword_parameters, positional_parameters

DEEPEST_CALL = 12
"""Calls nested deeper than this are not followed."""


_NO_GRAD_DECORATORS = frozenset({"torch.no_grad", "torch.inference_mode"})


class Calls(Expressions):
    """Calls of whatever an expression turns out to be."""

    def call(self, node: ast.Call, scope: Scope) -> Abstract:
        """Evaluate a call expression."""
        site = Site(scope.module, node)
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return self._super(scope)
        callee = self.evaluate(node.func, scope)
        return self.apply(callee, self._arguments(node, scope), site, scope)

    def _super(self, scope: Scope) -> Abstract:
        current: Scope | None = scope
        while current is not None:
            if current.self_class is not None:
                bound = current.names.get("<self>")
                return Super(current.self_class, bound) if bound is not None else UNKNOWN
            current = current.parent
        return UNKNOWN

    def _arguments(self, node: ast.Call, scope: Scope) -> Arguments:
        result = Arguments()
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                value, site = self.evaluate(arg.value, scope), Site(scope.module, arg.value)
                known = self.known_items(value)
                if known is None:
                    result.complete = False
                    known = value.items if isinstance(value, Seq) else []
                result.positional += [Argument(item, site) for item in known]
            else:
                value = self.evaluate(arg, scope)
                result.positional.append(Argument(value, Site(scope.module, arg)))
        for keyword in node.keywords:
            value, site = self.evaluate(keyword.value, scope), Site(scope.module, keyword.value)
            if keyword.arg is not None:
                result.keywords[keyword.arg] = Argument(value, site)
            elif isinstance(value, Map):
                for key, item in value.items.items():
                    if isinstance(key, str):
                        result.keywords[key] = Argument(item, site)
                result.complete = result.complete and value.complete
            elif isinstance(value, Instance) and is_namespace(value):
                for name, item in value.attributes.items():
                    result.keywords[name] = Argument(item, site)
                result.complete = result.complete and value.complete
            else:
                result.complete = False
        return result

    def apply(self, callee: Abstract, arguments: Arguments, site: Site, scope: Scope) -> Abstract:
        """Call ``callee`` whatever it is."""
        if isinstance(callee, Function):
            return self.call_with(callee, arguments, site)
        if isinstance(callee, Class):
            return self.instantiate(callee, arguments, site)
        if isinstance(callee, Library):
            return self.library_call(callee, arguments, site, scope)
        if isinstance(callee, LibraryMethod):
            return self.library_method(callee.receiver, callee.name, arguments, site, scope)
        if isinstance(callee, Instance):
            return self.call_instance(callee, arguments, site, scope)
        if isinstance(callee, Partial):
            merged = Arguments(
                callee.arguments.positional + arguments.positional,
                {**callee.arguments.keywords, **arguments.keywords},
                callee.arguments.complete and arguments.complete,
            )
            return self.apply(callee.callee, merged, site, scope)
        if isinstance(callee, Choice):
            options = something(callee)
            if not options:
                return self.unresolved_call(arguments, site)
            options = [o for o in options if self._may_take(o, arguments)] or options
            if len(options) == 1:
                return self.apply(options[0], arguments, site, scope)
            leaders = {o.leader.id for o in options if isinstance(o, Instance)}
            if len(leaders) == 1 and all(isinstance(o, Instance) for o in options):
                return self.apply(options[0], arguments, site, scope)
            return self._call_either(options, arguments, site, scope)
        return self.unresolved_call(arguments, site)

    def _may_take(self, option: Abstract, arguments: Arguments) -> bool:
        """Whether a function, or the forward of a module, has all the arguments it needs."""
        if isinstance(option, Instance) and option.klass is not None:
            option = self.method_of(option, "forward") or option
        if not isinstance(option, Function) or option.decorators or not arguments.complete:
            return True
        needed = [
            parameter.arg
            for parameter, default in positional_parameters(option.node.args)
            if default is None and parameter.arg not in option.options
        ]
        given = len(arguments.positional) + (option.bound is not None)
        return set(needed[given:]) <= arguments.keywords.keys()

    def _call_either(
        self, options: list[Abstract], arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        arms: list[ArmDraft] = []
        writes = []
        results = []
        outer = self.block
        for option in options:
            self.block = []
            self.begin_arm()
            results.append(self.apply(option, arguments, site, scope))
            writes.append(self.end_arm())
            arms.append(ArmDraft(self.block, None))
        self.block = outer
        self.merge_arms(writes)
        if any(arm.body for arm in arms):
            self.block.append(BranchDraft(site, arms, _either_of(options)))
        return self.join(results)

    def unresolved_call(self, arguments: Arguments, site: Site, name: str = "") -> Abstract:
        """A call nobody can follow: what it received may be changed by it."""
        self.escape(arguments.values(), site, name)
        flows = tuple(dict.fromkeys(v.flow for v in arguments.values() if isinstance(v, Tensor)))
        if flows:
            return self.new_flow("<unknown>", flows, site=site, name=name)
        return self.new_symbol(name, site)

    def call_with(self, function: Function, arguments: Arguments, site: Site) -> Abstract:
        """Walk a project function with evaluated arguments."""
        nested = len(self.call_stack)
        if nested >= DEEPEST_CALL or any(f is function.node for f in self.call_stack):
            return self.unresolved_call(arguments, site, function.name)
        scope = Scope(
            {}, function.scope.module, function.scope, function.name, self_class=function.owner
        )
        if function.bound is not None:
            scope.names["<self>"] = function.bound
        if not self._bind(function, arguments, scope):
            return self.unresolved_call(arguments, site, function.name)
        self.walked_functions.add(id(function.node))
        alone = function.bound is None and not self._could_matter(arguments)
        if alone and id(function.node) in self.inert_functions:
            return UNKNOWN
        flows, objects = len(self.flows), len(self.instances)
        block = self.block
        before = len(block)
        result = self._walk(function, scope, site)
        if (
            alone
            and len(block) == before
            and len(self.flows) == flows
            and not scope.globals
            and _says_nothing(result)
            and all(i.kind is ObjectKind.SYMBOL for i in self.instances[objects:])
        ):
            self.inert_functions.add(id(function.node))
        return result

    def _could_matter(self, arguments: Arguments) -> bool:
        """Whether a function could do something to the training with these arguments."""
        return any(
            isinstance(v, (Tensor, Function, Class, Layers)) or self.training_objects(v)
            for v in arguments.values()
        )

    def call_function(
        self,
        function: Function,
        arguments: list[Abstract],
        keywords: dict[str, Abstract],
        site: Site,
    ) -> Abstract:
        """Walk a project function with plain values as arguments."""
        return self.call_with(
            function,
            Arguments(
                [Argument(a, site) for a in arguments],
                {k: Argument(v, site) for k, v in keywords.items()},
            ),
            site,
        )

    def _walk(self, function: Function, scope: Scope, site: Site) -> Abstract:
        self.call_stack.append(function.node)
        self.via.append(site)
        around, conditions = self.within, len(self.conditions)
        owner = f"{function.owner.name}." if function.owner is not None else ""
        self.within = (*around, owner + function.name)
        no_grad = any(d in _NO_GRAD_DECORATORS for d in function.decorators)
        if no_grad:
            self.context.append("no_grad")
        outer, self.block = self.block, []
        try:
            node = function.node
            if isinstance(node, ast.Lambda):
                return self.evaluate(node.body, scope)
            status = self.execute(node.body, scope)
            if not scope.returns:
                return Const(None)
            if status is None and not any(isinstance(r, Iterated) for r in scope.returns):
                scope.returns.append(Const(None))
            return self.join(scope.returns)
        finally:
            outer.extend(end_returns(self.block, inside_loop=False))
            self.block = outer
            if no_grad:
                self.context.pop()
            self.within = around
            del self.conditions[conditions:]
            self.via.pop()
            self.call_stack.pop()

    def _bind(self, function: Function, arguments: Arguments, scope: Scope) -> bool:
        """Bind arguments to parameters; false when they do not fit."""
        parameters = function.node.args
        positional = positional_parameters(parameters)
        given = list(arguments.positional)
        if function.bound is not None and "staticmethod" not in function.decorators:
            given.insert(0, Argument(function.bound))
        keywords = dict(arguments.keywords)
        taken = min(len(given), len(positional))
        for (parameter, _), argument in zip(positional, given, strict=False):
            scope.names[parameter.arg] = argument.value
        for parameter, default in (*positional[taken:], *keyword_parameters(parameters)):
            name = parameter.arg
            if name in keywords:
                scope.names[name] = keywords.pop(name).value
            elif name in function.options:
                scope.names[name] = function.options[name]
            elif default is not None:
                scope.names[name] = self._default(function, name, default)
            else:
                scope.names[name] = self.parameter_symbol(parameter, scope)
        if parameters.vararg is not None:
            scope.names[parameters.vararg.arg] = Seq(
                "tuple", [a.value for a in given[taken:]], arguments.complete
            )
        elif len(given) > taken and arguments.complete:
            return False
        if parameters.kwarg is not None:
            scope.names[parameters.kwarg.arg] = Map(
                {k: a.value for k, a in keywords.items()}, arguments.complete
            )
        return True

    def _default(self, function: Function, name: str, node: ast.expr) -> Abstract:
        value = self.evaluate(node, function.scope)
        if isinstance(value, Const):
            if value.origin is not None and value.origin.kind == "typer default":
                return value
            place = function.scope.module.positions.of(node)
            origin = Origin("function default", f"default of {name} in {function.name}()", place)
            return Const(value.value, origin, certain=bool(self.call_stack) or value.certain)
        return value

    def parameter_symbol(self, parameter: ast.arg, scope: Scope) -> Abstract:
        """An unknown argument; its annotation may tell what kind of thing it is."""
        site = Site(scope.module, parameter)
        symbol = self.new_symbol(parameter.arg, site)
        if parameter.annotation is not None:
            annotated = self.evaluate(parameter.annotation, scope)
            self._apply_annotation(symbol, annotated)
        return symbol

    def _apply_annotation(self, symbol: Instance, annotated: Abstract) -> None:
        if not isinstance(annotated, Library):
            return
        if annotated.name.startswith("torch.optim.lr_scheduler."):
            symbol.methods.add("get_last_lr")
        elif annotated.name.startswith("torch.optim."):
            symbol.methods.update(("zero_grad", "param_groups"))
        elif annotated.name == "torch.amp.GradScaler":
            symbol.methods.update(("scale", "unscale_"))
        elif annotated.name in ("torch.nn.Module", "torch.Tensor"):
            symbol.methods.add("<module>" if annotated.name.endswith("Module") else "<tensor>")
        symbol.cls = annotated.name


def _either_of(options: list[Abstract]) -> str:
    """The condition of a call to one of several objects, or of a method of one.

    Calls of one and the same choice (``model.eval()``, later ``model.train()``) all go to the same
    object, so they share this text. Empty when an option cannot be told from another.
    """
    numbers: list[str] = []
    for option in options:
        owner = option.receiver if isinstance(option, LibraryMethod) else option
        if not isinstance(owner, Instance):
            return ""
        numbers.append(str(owner.leader.id))
    return f"<one of {', '.join(numbers)}>"


def _says_nothing(result: Abstract) -> bool:
    if isinstance(result, Instance):
        return result.kind is ObjectKind.SYMBOL
    return isinstance(result, Unknown) or (isinstance(result, Const) and result.value is None)


def end_returns(nodes: list[NodeDraft], inside_loop: bool) -> list[NodeDraft]:
    """A function's ``return`` ends the function, not the loop that calls it."""
    for node in nodes:
        if isinstance(node, BranchDraft):
            for arm in node.arms:
                if arm.ends == "return":
                    arm.ends = "break" if inside_loop else None
                end_returns(arm.body, inside_loop)
        elif isinstance(node, LoopDraft):
            end_returns(node.body, inside_loop=True)
    return nodes
